#include <optional>

#include "lib/spec/testing/matrix_rows.h"

namespace berth::spec {
namespace {

using Row = MatrixRow;
using Rows = MatrixRows;
using World = MatrixWorld;
using model::NamespaceMode;
using Profile = model::SecurityProfile;

void OnHostNetwork(World& w) {
  w.sandbox.spec.namespaces.network = NamespaceMode::kNode;
  w.container.security.namespaces.network = NamespaceMode::kNode;
}

Rows NamespaceRows() {
  return {
      {"host_network", OnHostNetwork},
      {"host_network + no_mounts", [](World& w) { w.container.mounts.clear(); }},
      {"host_pid",
       [](World& w) {
         w.sandbox.spec.namespaces.pid = NamespaceMode::kNode;
         w.container.security.namespaces.pid = NamespaceMode::kNode;
       }},
      {"host_ipc",
       [](World& w) {
         w.sandbox.spec.namespaces.ipc = NamespaceMode::kNode;
         w.container.security.namespaces.ipc = NamespaceMode::kNode;
       }},
      {"pid_shared_in_pod",
       [](World& w) {
         w.sandbox.spec.namespaces.pid = NamespaceMode::kPod;
         w.container.security.namespaces.pid = NamespaceMode::kPod;
         w.target_pid = "/ns/pid";
       }},
      {"pid_of_own_in_sharing_pod",
       [](World& w) { w.sandbox.spec.namespaces.pid = NamespaceMode::kPod; }},
      {"pid_of_pod_that_shares_none",
       [](World& w) { w.container.security.namespaces.pid = NamespaceMode::kPod; }},
      {"pid_of_target",
       [](World& w) {
         w.container.security.namespaces.pid = NamespaceMode::kTarget;
         w.container.security.namespaces.target_id = std::string(64, 'd');
         w.target_pid = "/proc/4711/ns/pid";
       }},
      {"user_namespace", InUserNamespace},
      {"user_namespace + host_network", OnHostNetwork},
      {"user_namespace + unmasked",
       [](World& w) {
         w.container.security.masked_paths.clear();
         w.container.security.readonly_paths.clear();
       }},
      {"user_namespace + without_group_of_terminals",
       [](World& w) {
         w.sandbox.spec.namespaces.gids = {{100000, 0, 1}};
         w.container.security.namespaces.gids = w.sandbox.spec.namespaces.gids;
       }},
      {"no_hostname", [](World& w) { w.sandbox.hostname.clear(); }},
  };
}

Rows PrivilegedRows() {
  return {
      {"privileged",
       [](World& w) { w.sandbox.spec.privileged = w.container.security.privileged = true; }},
      {"privileged + without_host_devices",
       [](World& w) {
         w.configure = [](SpecInputs& i) { i.privileged_without_host_devices = true; };
       }},
      {"privileged + device_of_host_elsewhere",
       [](World& w) {
         w.devices = {{.host = {.path = "/dev/fuse", .major = 10, .minor = 229, .mode = 0666},
                       .container_path = "/dev/other",
                       .access = "r"}};
       }},
      {"privileged + on_host_network", OnHostNetwork},
      {"privileged + on_cgroup_v1", OnCgroupV1},
      {"privileged + in_user_namespace", InUserNamespace},
      {"privileged + dropped_capabilities",
       [](World& w) { w.container.security.drop_capabilities = {"ALL"}; }},
      {"privileged + profiles",
       [](World& w) {
         w.apparmor = w.selinux = true;
         w.container.security.seccomp = {Profile::Type::kRuntimeDefault, ""};
         w.container.security.apparmor = {Profile::Type::kRuntimeDefault, ""};
       }},
      {"privileged + named_apparmor",
       [](World& w) {
         w.apparmor = true;
         w.container.security.apparmor = {Profile::Type::kLocalhost, "strict"};
       }},
      {"privileged + readonly_rootfs",
       [](World& w) { w.container.security.readonly_rootfs = true; }},
  };
}

Rows UserRows() {
  return {
      {"run_as_user_known", [](World& w) { w.container.security.run_as_user = 1000; }},
      {"run_as_user_unknown", [](World& w) { w.container.security.run_as_user = 4242; }},
      {"run_as_user_known + group", [](World& w) { w.container.security.run_as_group = 3000; }},
      {"run_as_username", [](World& w) { w.container.security.run_as_username = "app"; }},
      {"user_of_image", [](World& w) { w.image.user = "app"; }},
      {"user_and_group_of_image", [](World& w) { w.image.user = "app:web"; }},
      {"user_of_request_before_user_of_image",
       [](World& w) {
         w.image.user = "app:web";
         w.container.security.run_as_user = 0;
       }},
      {"run_as_user_known + supplemental_groups_merge",
       [](World& w) {
         w.container.security.supplemental_groups = {3000, 50};
       }},
      {"run_as_user_known + supplemental_groups_strict",
       [](World& w) {
         w.container.security.supplemental_groups = {3000};
         w.container.security.supplemental_groups_policy = model::SupplementalGroupsPolicy::kStrict;
       }},
      {"run_as_user_known + supplemental_groups_strict_none",
       [](World& w) {
         w.container.security.supplemental_groups_policy = model::SupplementalGroupsPolicy::kStrict;
       }},
      {"run_as_user_unknown + passwd_of_request",
       [](World& w) {
         w.container.mounts.push_back({.container_path = "/etc/passwd", .host_path = "/passwd"});
       }},
  };
}

Rows CapabilityRows() {
  const auto row = [](const char* name, std::vector<std::string> add, std::vector<std::string> drop,
                      std::vector<std::string> ambient = {}) {
    return Row{name, [=](World& w) {
                 w.container.security.add_capabilities = add;
                 w.container.security.drop_capabilities = drop;
                 w.container.security.add_ambient_capabilities = ambient;
               }};
  };
  return {
      row("capabilities_add", {"NET_RAW"}, {}),
      row("capabilities_drop", {}, {"CAP_KILL", "setuid"}),
      row("capabilities_drop_all", {}, {"ALL"}),
      row("capabilities_drop_all_add_one", {"NET_BIND_SERVICE"}, {"ALL"}),
      row("capabilities_add_all", {"ALL"}, {}),
      row("capabilities_add_all_drop_one", {"ALL"}, {"NET_RAW"}),
      row("capabilities_add_and_drop_one", {"NET_RAW"}, {"NET_RAW"}),
      row("capabilities_not_of_daemon", {"SYS_TIME"}, {}),
      row("capabilities_ambient", {}, {"ALL"}, {"NET_BIND_SERVICE"}),
      {"no_new_privs", [](World& w) { w.container.security.no_new_privs = true; }},
  };
}

Rows ConfinementRows(const std::string& localhost_seccomp) {
  const auto seccomp = [](Profile profile) {
    return [profile](World& w) { w.container.security.seccomp = profile; };
  };
  const auto apparmor = [](std::optional<Profile> profile) {
    return [profile](World& w) {
      w.apparmor = true;
      w.container.security.apparmor = profile;
    };
  };
  return {
      {"seccomp_unconfined", seccomp({Profile::Type::kUnconfined, ""})},
      {"seccomp_runtime_default", seccomp({Profile::Type::kRuntimeDefault, ""})},
      {"seccomp_runtime_default + capability",
       [](World& w) { w.container.security.add_capabilities = {"SYS_ADMIN"}; }},
      {"seccomp_localhost", seccomp({Profile::Type::kLocalhost, localhost_seccomp})},
      {"apparmor_unsaid", apparmor(std::nullopt)},
      {"apparmor_runtime_default", apparmor(Profile{Profile::Type::kRuntimeDefault, ""})},
      {"apparmor_unconfined", apparmor(Profile{Profile::Type::kUnconfined, ""})},
      {"apparmor_localhost", apparmor(Profile{Profile::Type::kLocalhost, "strict"})},
      {"selinux_of_pod", [](World& w) { w.selinux = true; }},
      {"selinux_of_container",
       [](World& w) {
         w.selinux = true;
         w.container.security.selinux = {"", "", "spc_t", "s0:c7,c8"};
       }},
      {"selinux_not_in_use",
       [](World& w) {
         w.container.security.selinux = {"", "", "spc_t", ""};
       }},
      {"masked_paths_more",
       [](World& w) {
         w.container.security.masked_paths = {"/secret/", "/proc/kcore"};
       }},
      {"masked_paths_none", [](World& w) { w.container.security.masked_paths.clear(); }},
      {"masked_paths_of_this_node",
       [](World& w) {
         w.node.thermal_throttle_paths = {"/sys/devices/system/cpu/cpu0/thermal_throttle"};
       }},
      {"readonly_paths_other",
       [](World& w) {
         w.container.security.readonly_paths = {"/proc/sys", "/etc/ssl"};
       }},
      {"readonly_paths_none", [](World& w) { w.container.security.readonly_paths.clear(); }},
      {"hidden_paths_none_of_either",
       [](World& w) {
         w.container.security.masked_paths.clear();
         w.container.security.readonly_paths.clear();
       }},
      {"readonly_rootfs", [](World& w) { w.container.security.readonly_rootfs = true; }},
  };
}

}  // namespace

void InUserNamespace(MatrixWorld& w) {
  w.sandbox.spec.namespaces.user = NamespaceMode::kPod;
  w.sandbox.spec.namespaces.uids = w.sandbox.spec.namespaces.gids = {{100000, 0, 65536}};
  w.container.security.namespaces.user = NamespaceMode::kPod;
  w.container.security.namespaces.uids = w.sandbox.spec.namespaces.uids;
  w.container.security.namespaces.gids = w.sandbox.spec.namespaces.gids;
}

void OnCgroupV1(MatrixWorld& w) {
  w.node.cgroup_v2 = false;
  w.container.resources.unified.clear();
}

Rows SecurityRows(const std::string& localhost_seccomp) {
  return Together({NamespaceRows(), PrivilegedRows(), UserRows(), CapabilityRows(),
                   ConfinementRows(localhost_seccomp)});
}

}  // namespace berth::spec
