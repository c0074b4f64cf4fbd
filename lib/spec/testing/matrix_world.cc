#include "lib/spec/testing/matrix_world.h"

#include <fcntl.h>

#include <utility>

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/base/testing/fake_process_runner.h"
#include "lib/security/capabilities.h"
#include "lib/security/seccomp.h"
#include "lib/security/selinux.h"
#include "lib/spec/edits.h"
#include "lib/spec/user.h"

namespace berth::spec {
namespace {

using Json = nlohmann::json;
using model::NamespaceMode;

// Small, and with a condition on a capability, as the real one.
constexpr char kSeccomp[] = R"({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
    "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                 {"names": ["mount"], "action": "SCMP_ACT_ALLOW",
                  "includes": {"caps": ["CAP_SYS_ADMIN"]}}]})";

// What the daemon can hand on: the defaults and these two.
security::CapabilitySet Bounding() {
  return security::DefaultCapabilities() |
         *security::ParseCapabilities({"CAP_NET_RAW", "CAP_SYS_ADMIN"});
}

absl::StatusOr<security::Apparmor> LoadApparmor(const std::string& root) {
  base::FakeProcessRunner runner([](const base::ProcessSpec&, std::string_view) {
    return base::FakeProcessRunner::Exits(1, "");
  });
  return security::Apparmor::Load(base::OpContext::Background(), runner,
                                  {.profile = "node-default", .sys = root + "/sys"});
}

}  // namespace

MatrixWorld::MatrixWorld() {
  sandbox.id = model::SandboxId(std::string(64, 'a'));
  sandbox.spec.name = "web";
  sandbox.spec.ns = "shop";
  sandbox.spec.uid = "0c9b6b3e";
  sandbox.spec.cgroup_parent =
      "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0c9b6b3e.slice";
  sandbox.spec.namespaces.pid = NamespaceMode::kContainer;
  sandbox.spec.namespaces.user = NamespaceMode::kNode;
  sandbox.spec.selinux.level = "s0:c1,c2";
  sandbox.hostname = "web-1";
  container.name = "app";
  container.image = std::string(64, 'f');
  container.user_specified_image = "docker.io/library/app:1";
  container.command = {"/bin/app", "serve"};
  container.envs = {{"KUBERNETES_SERVICE_HOST", "10.0.0.1"}};
  container.labels = {{"io.kubernetes.container.name", "app"}};
  container.annotations = {{"io.kubernetes.container.restartCount", "0"}};
  container.mounts = {{.container_path = "/etc/hosts", .host_path = "/kubelet/etc-hosts"},
                      {.container_path = "/dev/termination-log", .host_path = "/kubelet/log"}};
  model::ContainerSecurity& security = container.security;
  security.namespaces.pid = NamespaceMode::kContainer;
  security.masked_paths = {
      "/proc/acpi",        "/proc/kcore",       "/proc/keys",
      "/proc/timer_list",  "/proc/timer_stats", "/proc/latency_stats",
      "/proc/sched_debug", "/proc/scsi",        "/sys/firmware",
      "/proc/asound",      "/proc/interrupts",  "/sys/devices/virtual/powercap"};
  security.readonly_paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                             "/proc/sysrq-trigger"};
  model::Resources& resources = container.resources;
  resources.cpu_period = 100000;
  resources.cpu_shares = 102;
  resources.oom_score_adj = 999;
  resources.hugepage_limits = {{"2MB", 0}};
  resources.unified = {{"memory.oom.group", "1"}};
  image.env = {"PATH=/bin", "LANG=C.UTF-8"};
  image.entrypoint = {"/entry"};
  image.cmd = {"default"};
  node.cgroup_v2 = true;
  node.cgroup_namespaces_delegate = true;
  node.has_hugetlb = true;
  node.has_swap_accounting = true;
}

NamespacePaths MatrixWorld::Namespaces() const {
  const model::NamespaceOptions& pod = sandbox.spec.namespaces;
  NamespacePaths paths;
  if (pod.network != NamespaceMode::kNode) {
    paths.net = "/ns/net";
    paths.uts = "/ns/uts";
  }
  paths.ipc = pod.ipc == NamespaceMode::kNode ? "" : "/ns/ipc";
  paths.user = pod.user == NamespaceMode::kPod ? "/ns/user" : "";
  paths.pid = target_pid;
  return paths;
}

absl::Status MatrixWorld::Confine(const std::string& root, SpecInputs& inputs) const {
  const model::ContainerSecurity& security = container.security;
  ASSIGN_OR_RETURN(
      const security::GrantedCapabilities capabilities,
      security::GrantCapabilities(security, security::DefaultCapabilities(), Bounding()));
  inputs.capabilities = security::CapabilityNames(capabilities.granted);
  inputs.ambient_capabilities = security::CapabilityNames(capabilities.ambient);
  ASSIGN_OR_RETURN(security::SeccompProfile profile, security::SeccompProfile::Parse(kSeccomp));
  security::SeccompPolicy seccomp(std::move(profile));
  ASSIGN_OR_RETURN(inputs.seccomp_json,
                   seccomp.For(security.seccomp, security.privileged, capabilities.granted));
  if (apparmor) {
    ASSIGN_OR_RETURN(const security::Apparmor loaded, LoadApparmor(root));
    ASSIGN_OR_RETURN(inputs.apparmor_profile, loaded.For(security.apparmor, security.privileged));
  }
  if (selinux) {
    ASSIGN_OR_RETURN(const security::SelinuxLabels labels,
                     security::LabelsFor(security.selinux, sandbox.spec.selinux));
    inputs.process_selinux_label = security.privileged ? "" : labels.process;
    inputs.mount_selinux_label = labels.mount;
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> MatrixWorld::Build(const std::string& root) {
  ASSIGN_OR_RETURN(const base::UniqueFd fd, base::OpenFile(root, O_PATH | O_DIRECTORY));
  SpecInputs inputs{.container = container, .sandbox = sandbox, .image = image, .node = node};
  inputs.container_id = std::string(64, 'c');
  inputs.image_id = std::string(64, 'f');
  inputs.rootfs_path = "/run/berth/rootfs";
  ASSIGN_OR_RETURN(inputs.cgroups_path,
                   cgroup::SpecCgroupsPath(driver, sandbox.spec.cgroup_parent, "c"));
  inputs.systemd_cgroup = driver == cgroup::Driver::kSystemd;
  inputs.namespaces = Namespaces();
  const model::NamespaceOptions& pod = sandbox.spec.namespaces;
  inputs.pod_files = {.resolv_conf = "/pod/resolv.conf",
                      .hostname = "/pod/hostname",
                      .hosts = pod.network == NamespaceMode::kNode ? "/etc/hosts" : "",
                      .shm = pod.ipc == NamespaceMode::kNode ? "/dev/shm" : "/pod/shm",
                      .containerenv = "/pod/containerenv"};
  inputs.edits = edits;
  ASSIGN_OR_RETURN(inputs.user, ResolveUser(fd.get(), container.security, image.user));
  ASSIGN_OR_RETURN(inputs.devices, PrepareEdits(edits, inputs.user));
  inputs.devices.insert(inputs.devices.end(), devices.begin(), devices.end());
  inputs.host_devices = {{.path = "/dev/fuse", .major = 10, .minor = 229, .mode = 0666},
                         {.path = "/dev/sda", .type = 'b', .major = 8, .mode = 0660, .gid = 6}};
  RETURN_IF_ERROR(Confine(root, inputs));
  inputs.abilities = {.recursive_readonly_mounts = true};
  inputs.daemon_dirs = {"/var/lib/berth", "/run/berth"};
  ASSIGN_OR_RETURN(const std::optional<std::string> passwd,
                   PasswdWithUser(fd.get(), container, inputs.user,
                                  inputs.user.home.empty() ? "/" : inputs.user.home));
  inputs.passwd_path = passwd ? "/bundle/passwd" : "";
  configure(inputs);

  ASSIGN_OR_RETURN(const SpecOutput output, BuildContainerSpec(inputs));
  return Json{{"config", Json::parse(output.config_json)},
              {"passwd", passwd.value_or("")},
              {"rootfs_dirs", output.rootfs_dirs},
              {"warnings", output.warnings}};
}

}  // namespace berth::spec
