#include "lib/spec/linux_section.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/spec/text.h"

namespace berth::spec {
namespace {

using Json = nlohmann::json;
using model::NamespaceMode;

constexpr size_t kMaxHiddenPaths = 1024;

// What /proc and /sys tell or do about the node: /proc/kcore and its like leak memory, powercap
// measures other containers' work (CVE-2020-8694), interrupts and thermal_throttle their timing.
constexpr const char* kMaskedPaths[] = {
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
};
constexpr const char* kReadonlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                          "/proc/sysrq-trigger"};

Json Namespace(const char* type, const std::string& path) {
  Json json = {{"type", type}};
  if (!path.empty()) {
    json["path"] = path;
  }
  return json;
}

absl::Status Joined(const char* type, const char* what, const std::string& path, Json& list) {
  if (path.empty()) {
    return absl::InvalidArgumentError(fmt::format("the pod has no {} namespace of its own", what));
  }
  list.push_back(Namespace(type, path));
  return absl::OkStatus();
}

absl::Status AddPidNamespace(const SpecInputs& inputs, Json& list,
                             std::vector<std::string>& warnings) {
  const std::string& path = inputs.namespaces.pid;
  switch (inputs.container.security.namespaces.pid) {
    case NamespaceMode::kNode:
      return absl::OkStatus();
    case NamespaceMode::kContainer:
      list.push_back(Namespace("pid", ""));
      return absl::OkStatus();
    case NamespaceMode::kTarget:
      if (path.empty()) {
        return absl::InvalidArgumentError(
            fmt::format("process namespace of container '{}': it is not running",
                        inputs.container.security.namespaces.target_id));
      }
      list.push_back(Namespace("pid", path));
      return absl::OkStatus();
    case NamespaceMode::kPod:
      break;
  }
  if (path.empty() && inputs.sandbox.spec.namespaces.pid == NamespaceMode::kNode) {
    return absl::OkStatus();
  }
  if (path.empty()) {
    warnings.push_back(
        "the pod has no process namespace to share: the container gets one of its own");
  }
  list.push_back(Namespace("pid", path));
  return absl::OkStatus();
}

absl::Status CheckUserNamespace(const model::NamespaceOptions& own,
                                const model::NamespaceOptions& pod) {
  const NamespaceMode of_pod = pod.user.value_or(NamespaceMode::kNode);
  const bool is_same =
      !own.user.has_value() || (own.user == of_pod && own.uids == pod.uids && own.gids == pod.gids);
  if (!is_same) {
    return absl::InvalidArgumentError(
        "namespace_options.userns_options is not the same as the pod's");
  }
  if (of_pod == NamespaceMode::kPod && own.pid == NamespaceMode::kNode) {
    return absl::InvalidArgumentError(
        "namespace_options.pid is NODE, which the pod's user namespace does not allow");
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> BuildNamespaces(const SpecInputs& inputs, std::vector<std::string>& warnings) {
  const model::NamespaceOptions& pod = inputs.sandbox.spec.namespaces;
  const model::NamespaceOptions& own = inputs.container.security.namespaces;
  // A container is in its pod's. The default of the request's field is POD, so saying nothing is
  // no contradiction to a pod in the node's.
  if (own.network == NamespaceMode::kNode && pod.network != NamespaceMode::kNode) {
    return absl::InvalidArgumentError(
        "namespace_options.network is NODE, but the pod has a network namespace of its own");
  }
  if (own.ipc == NamespaceMode::kNode && pod.ipc != NamespaceMode::kNode) {
    return absl::InvalidArgumentError(
        "namespace_options.ipc is NODE, but the pod has an IPC namespace of its own");
  }
  RETURN_IF_ERROR(CheckUserNamespace(own, pod));
  Json list = Json::array();
  list.push_back(Namespace("mount", ""));
  if (pod.network != NamespaceMode::kNode) {
    RETURN_IF_ERROR(Joined("network", "network", inputs.namespaces.net, list));
  }
  if (pod.ipc != NamespaceMode::kNode) {
    RETURN_IF_ERROR(Joined("ipc", "ipc", inputs.namespaces.ipc, list));
  }
  if (!inputs.namespaces.uts.empty()) {
    list.push_back(Namespace("uts", inputs.namespaces.uts));
  }
  RETURN_IF_ERROR(AddPidNamespace(inputs, list, warnings));
  if (pod.user == NamespaceMode::kPod) {
    RETURN_IF_ERROR(Joined("user", "user", inputs.namespaces.user, list));
  }
  // Hides the path above the container's cgroup. On v1 the OCI runtimes mount just the container's
  // part instead.
  if (inputs.node.cgroup_v2 && !inputs.container.security.privileged) {
    list.push_back(Namespace("cgroup", ""));
  }
  return list;
}

Json RenderMappings(const std::vector<model::IdMapping>& mappings) {
  Json list = Json::array();
  for (const model::IdMapping& mapping : mappings) {
    list.push_back({{"containerID", mapping.container_id},
                    {"hostID", mapping.host_id},
                    {"size", mapping.length}});
  }
  return list;
}

Json RenderDevice(const HostDevice& device, const std::string& path) {
  return {{"path", path},
          {"type", std::string(1, device.type)},
          {"major", device.major},
          {"minor", device.minor},
          {"fileMode", device.mode},
          {"uid", device.uid},
          {"gid", device.gid}};
}

Json RenderRdt(const model::IntelRdt& rdt) {
  Json json = Json::object();
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) {
      json[name] = value;
    }
  };
  add("closID", rdt.clos_id);
  add("l3CacheSchema", rdt.l3_cache_schema);
  add("memBwSchema", rdt.mem_bw_schema);
  if (rdt.enable_cmt) {
    json["enableCMT"] = true;
  }
  if (rdt.enable_mbm) {
    json["enableMBM"] = true;
  }
  return json;
}

bool HasAllDevices(const SpecInputs& inputs) {
  return inputs.container.security.privileged && !inputs.privileged_without_host_devices;
}

Json RenderBlockIo(const model::BlockIo& block_io) {
  Json json = Json::object();
  if (block_io.weight > 0) {
    json["weight"] = block_io.weight;
  }
  for (const model::BlockIoDevice& device : block_io.devices) {
    const auto add = [&](const char* list, const char* name, int64_t value) {
      if (value > 0) {
        json[list].push_back({{"major", device.major}, {"minor", device.minor}, {name, value}});
      }
    };
    add("weightDevice", "weight", device.weight);
    add("throttleReadBpsDevice", "rate", device.read_bps);
    add("throttleWriteBpsDevice", "rate", device.write_bps);
    add("throttleReadIOPSDevice", "rate", device.read_iops);
    add("throttleWriteIOPSDevice", "rate", device.write_iops);
  }
  return json;
}

// Sets `devices` and the rules of the device cgroup. The runtimes add the usual ones (null, zero,
// ...) themselves.
void AddDevices(const SpecInputs& inputs, Json& linux, Json& resources) {
  const bool all = HasAllDevices(inputs);
  Json devices = Json::array();
  Json rules = Json::array();
  rules.push_back({{"allow", all}, {"access", "rwm"}});
  for (const Device& device : ContainerDevices(inputs)) {
    devices.push_back(RenderDevice(device.host, device.container_path));
    const bool has_numbers = device.host.type != 'p';
    if (!all && has_numbers && !device.access.empty()) {
      rules.push_back({{"allow", true},
                       {"type", device.host.type == 'b' ? "b" : "c"},
                       {"major", device.host.major},
                       {"minor", device.host.minor},
                       {"access", device.access}});
    }
  }
  // In a user namespace they are mounts.
  if (!devices.empty() && inputs.sandbox.spec.namespaces.user != NamespaceMode::kPod) {
    linux["devices"] = std::move(devices);
  }
  resources["devices"] = std::move(rules);
}

absl::Status AddPaths(const std::vector<std::string>& requested, std::set<std::string>& paths,
                      const char* what) {
  if (requested.size() > kMaxHiddenPaths) {
    return absl::InvalidArgumentError(fmt::format("more than {} {}s", kMaxHiddenPaths, what));
  }
  for (const std::string& path : requested) {
    ASSIGN_OR_RETURN(std::string clean, CleanAbsolutePath(path, what));
    paths.insert(std::move(clean));
  }
  return absl::OkStatus();
}

// The defaults, and what the request adds. A request without any path means "nothing hidden"
// (ProcMount Unmasked) only in a user namespace, where Kubernetes allows it; otherwise its author
// just did not say.
absl::Status AddHiddenPaths(const SpecInputs& inputs, Json& linux) {
  const model::ContainerSecurity& security = inputs.container.security;
  if (security.privileged) {
    return absl::OkStatus();
  }
  const bool has_userns = inputs.sandbox.spec.namespaces.user == NamespaceMode::kPod;
  std::set<std::string> masked;
  std::set<std::string> readonly;
  RETURN_IF_ERROR(AddPaths(security.masked_paths, masked, "masked path"));
  RETURN_IF_ERROR(AddPaths(security.readonly_paths, readonly, "read-only path"));
  if (!masked.empty() || !has_userns) {
    masked.insert(std::begin(kMaskedPaths), std::end(kMaskedPaths));
    masked.insert(inputs.node.thermal_throttle_paths.begin(),
                  inputs.node.thermal_throttle_paths.end());
  }
  if (readonly.empty() && !has_userns) {
    readonly.insert(std::begin(kReadonlyPaths), std::end(kReadonlyPaths));
  }
  if (!masked.empty()) {
    linux["maskedPaths"] = masked;
  }
  if (!readonly.empty()) {
    linux["readonlyPaths"] = readonly;
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Device> ContainerDevices(const SpecInputs& inputs) {
  std::vector<Device> devices;
  std::set<std::string> taken;
  for (const Device& device : inputs.devices) {
    if (taken.insert(device.container_path).second) {
      devices.push_back(device);
    }
  }
  if (HasAllDevices(inputs)) {
    for (const HostDevice& device : inputs.host_devices) {
      if (taken.insert(device.path).second) {
        devices.push_back({.host = device, .container_path = device.path, .access = ""});
      }
    }
  }
  return devices;
}

absl::StatusOr<Json> BuildLinux(const SpecInputs& inputs, Json resources,
                                const std::string& rootfs_propagation,
                                std::vector<std::string>& warnings) {
  const model::NamespaceOptions& pod = inputs.sandbox.spec.namespaces;
  Json linux = {{"cgroupsPath", inputs.cgroups_path}};
  ASSIGN_OR_RETURN(linux["namespaces"], BuildNamespaces(inputs, warnings));
  if (pod.user == NamespaceMode::kPod) {
    linux["uidMappings"] = RenderMappings(pod.uids);
    linux["gidMappings"] = RenderMappings(pod.gids);
  }
  AddDevices(inputs, linux, resources);
  if (inputs.edits.block_io) {
    resources["blockIO"] = RenderBlockIo(*inputs.edits.block_io);
  }
  linux["resources"] = std::move(resources);
  RETURN_IF_ERROR(AddHiddenPaths(inputs, linux));
  if (!rootfs_propagation.empty()) {
    linux["rootfsPropagation"] = rootfs_propagation;
  }
  if (inputs.edits.intel_rdt) {
    linux["intelRdt"] = RenderRdt(*inputs.edits.intel_rdt);
  }
  if (!inputs.mount_selinux_label.empty()) {
    linux["mountLabel"] = inputs.mount_selinux_label;
  }
  return linux;
}

}  // namespace berth::spec
