"""A scratch containerd: what the tests are tried against, to tell a wrong test from a wrong berthd."""
import os

from harness import daemon, network
from registry import registries_conf


class ScratchContainerd(daemon.ScratchDaemon):
    kind = "containerd"
    # It opens databases and connections when it first needs them, and Go keeps the threads it once made.
    keeps_resources = True
    leaves_runtime_files = True

    def write_configuration(self):
        other = {"runc": "crun", "crun": "runc"}[self.runtime]
        text = f"""version = 2
root = "{self.root}"
state = "{self.state}"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.9"
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = false
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{self.base}/net.d"
    bin_dir = "{network.PLUGIN_DIRS[1]}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{self.base}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "{self.runtime}"
"""
        for name in (self.runtime, other):
            text += f"""  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
      BinaryName = "{name}"
      SystemdCgroup = {"true" if self.cgroup_manager == "systemd" else "false"}
"""
        with open(f"{self.base}/config.toml", "w", encoding="utf-8") as out:
            out.write(text)
        for name in registries_conf.PUBLIC:
            self._host(name, f"http://{self.registry}/v2/{name}", "override_path = true")
        self._host(self.registry, f"http://{self.registry}", "")

    def _host(self, name, url, extra):
        folder = f"{self.base}/certs.d/{name}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/hosts.toml", "w", encoding="utf-8") as out:
            out.write(f'server = "{url}"\n[host."{url}"]\n'
                      f'  capabilities = ["pull", "resolve"]\n  {extra}\n')

    def command(self):
        return ["containerd", "--config", f"{self.base}/config.toml", "--log-level", "info"]

    def may_stay(self, path):
        return not any(f"/{name}/" in path[len(self.base):] for name in (
            "io.containerd.grpc.v1.cri/sandboxes", "io.containerd.grpc.v1.cri/containers", "k8s.io"))

    def _pod_mount(self, line):
        return not line.endswith("(overlay)") or "rootfs" in line
