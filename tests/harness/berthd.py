"""A scratch berthd."""
import os

from harness import daemon, network, places


def toml(value):
    """A value as TOML; enough for what berthd's configuration holds."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


class ScratchBerthd(daemon.ScratchDaemon):
    """Options: any table of berthd.toml as a keyword, e.g. image={"pull_progress_timeout": "2s"}; [runtime] as
    `runtime_table`, since `runtime` is the handler under test."""

    kind = "berthd"

    def write_configuration(self):
        tables = {
            "api": {"listen": f"unix://{self.socket}"},
            "runtime": {"default": self.runtime, "cgroup_manager": self.cgroup_manager,
                        "monitor": places.program("berth-monitor"),
                        "pause": places.program("berth-pause")},
            "image": {"registries_conf": f"{self.base}/registries.conf",
                      "registries_conf_dir": f"{self.base}/registries.conf.d",
                      "certs_dir": f"{self.base}/certs.d"},
            "network": {"conf_dir": f"{self.base}/net.d", "plugin_dirs": network.PLUGIN_DIRS},
            "log": {"level": "debug"},
        }
        for name, table in self.options.items():
            tables.setdefault("runtime" if name == "runtime_table" else name, {}).update(table)
        for name in ("registries.conf.d", "certs.d", "conf.d"):
            os.makedirs(f"{self.base}/{name}", exist_ok=True)
        with open(f"{self.base}/registries.conf", "w", encoding="utf-8") as out:
            out.write(self.registries)
        lines = [f"root = {toml(self.root)}", f"state = {toml(self.state)}"]
        for name, table in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {toml(value)}" for key, value in table.items()]
        with open(f"{self.base}/berthd.toml", "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")

    def command(self):
        return [places.program("berthd"), "--config", f"{self.base}/berthd.toml",
                "--config-dir", f"{self.base}/conf.d"]

    def may_stay(self, path):
        # Folders of whole kinds of things may stay; what is in them may not (lib/store/paths.h).
        inside = path[len(self.base):]
        return inside.startswith(("/root/layers/", "/root/recipes/", "/root/berth.db")) or inside in (
            "/root/layers", "/root/recipes", "/root/trash", "/root/containers", "/root/import", "/root/reserve", "/state/ns",
            "/state/sandboxes", "/state/containers", "/state/runtime", "/state/runtime/runc", "/state/runtime/crun", "/state/tmp",
            "/state/apparmor-profile", "/state/runtime-probes.json")

    def layers(self):
        """The folders of unpacked layers; number 0 is the empty one that overlayfs wants below a single layer."""
        try:
            return sorted(name for name in os.listdir(f"{self.root}/layers") if name != "0")
        except FileNotFoundError:
            return []
