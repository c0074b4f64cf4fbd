#include "lib/spec/mounts.h"

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/model/id_map.h"
#include "lib/spec/linux_section.h"
#include "lib/spec/text.h"

namespace berth::spec {
namespace {

using Json = nlohmann::json;
using model::MountPropagation;
using model::NamespaceMode;

constexpr size_t kMaxMounts = 4096;
constexpr int kTtyGroup = 5;

struct Entry {
  std::string destination, type, source;
  std::vector<std::string> options;
};

Entry Bind(std::string source, std::string destination, std::vector<std::string> options) {
  options.insert(options.begin(), "bind");
  return {std::move(destination), "bind", std::move(source), std::move(options)};
}

bool HasUserNamespace(const SpecInputs& inputs) {
  return inputs.sandbox.spec.namespaces.user == NamespaceMode::kPod;
}

// Of terminals; a group that is not in the pod's user namespace cannot be named.
std::vector<std::string> DevptsOptions(const SpecInputs& inputs) {
  std::vector<std::string> options = {"nosuid", "noexec", "newinstance", "ptmxmode=0666",
                                      "mode=0620"};
  if (!HasUserNamespace(inputs) ||
      model::FindMapping(inputs.sandbox.spec.namespaces.gids, kTtyGroup) != nullptr) {
    options.push_back(fmt::format("gid={}", kTtyGroup));
  }
  return options;
}

// systemd makes cgroups of its own. Only where it then cannot lift the container's limits; and not
// on v1, where what a container writes there is the node's.
bool HasOwnCgroups(const SpecInputs& inputs, bool is_systemd) {
  return inputs.container.security.privileged ||
         (is_systemd && inputs.node.cgroup_v2 && inputs.node.cgroup_namespaces_delegate);
}

void AddKernelFileSystems(const SpecInputs& inputs, bool is_systemd, std::vector<Entry>& entries) {
  const model::NamespaceOptions& pod = inputs.sandbox.spec.namespaces;
  const bool privileged = inputs.container.security.privileged;
  const std::string write = privileged ? "rw" : "ro";
  entries.push_back({"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}});
  entries.push_back(
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}});
  entries.push_back({"/dev/pts", "devpts", "devpts", DevptsOptions(inputs)});
  entries.push_back({"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}});
  // sysfs shows the network namespace it is mounted in, and only that one's user namespace may
  // mount it.
  if (pod.network == NamespaceMode::kNode && HasUserNamespace(inputs)) {
    entries.push_back({"/sys", "bind", "/sys", {"rbind", "nosuid", "noexec", "nodev", write}});
  } else {
    entries.push_back({"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", write}});
  }
  entries.push_back(
      {"/sys/fs/cgroup",
       "cgroup",
       "cgroup",
       {"nosuid", "noexec", "nodev", "relatime", HasOwnCgroups(inputs, is_systemd) ? "rw" : "ro"}});
}

void AddPodFiles(const SpecInputs& inputs, std::vector<Entry>& entries) {
  const PodFiles& files = inputs.pod_files;
  const std::string write = inputs.container.security.readonly_rootfs ? "ro" : "rw";
  const auto add = [&](const std::string& source, const char* destination) {
    if (!source.empty()) {
      entries.push_back(Bind(source, destination, {"nosuid", "nodev", "noexec", write}));
    }
  };
  if (inputs.sandbox.spec.namespaces.ipc == NamespaceMode::kNode) {
    entries.push_back(Bind("/dev/shm", "/dev/shm", {"nosuid", "nodev", "noexec", "rw"}));
  } else if (!files.shm.empty()) {
    entries.push_back(Bind(files.shm, "/dev/shm", {"nosuid", "nodev", "noexec", "rw"}));
  }
  add(files.resolv_conf, "/etc/resolv.conf");
  add(files.hostname, "/etc/hostname");
  add(files.hosts, "/etc/hosts");
  add(files.containerenv, "/run/.containerenv");
  add(inputs.passwd_path, "/etc/passwd");
}

// In a user namespace nobody can make device nodes: those of the host are mounted.
void AddDevices(const SpecInputs& inputs, std::vector<Entry>& entries) {
  if (!HasUserNamespace(inputs)) {
    return;
  }
  for (const Device& device : ContainerDevices(inputs)) {
    entries.push_back(Bind(device.host.path, device.container_path, {"nosuid", "noexec", "rw"}));
  }
}

void AddSystemdFileSystems(std::vector<Entry>& entries) {
  for (const char* path : {"/run", "/run/lock", "/tmp", "/var/log/journal"}) {
    const char* const mode = std::string_view(path) == "/tmp" ? "mode=1777" : "mode=755";
    entries.push_back({path, "tmpfs", "tmpfs", {"rw", "nosuid", "nodev", mode}});
  }
}

// What a bind mount can have of its own. Not here: options of the whole file system (sync), which
// the kernel would ignore; and those that take a flag of the source away (exec), which runc
// ignores.
constexpr const char* kOptions[] = {"noexec", "nosuid", "nodev", "nodiratime"};
constexpr const char* kAtimeOptions[] = {"noatime", "relatime", "strictatime"};

absl::Status CheckOptions(const std::vector<std::string>& options) {
  const std::string* atime = nullptr;
  for (const std::string& option : options) {
    const auto is = [&](const char* name) { return option == name; };
    if (std::any_of(std::begin(kAtimeOptions), std::end(kAtimeOptions), is)) {
      if (atime != nullptr && *atime != option) {
        return absl::InvalidArgumentError(
            fmt::format("mount_options '{}' and '{}' contradict each other", *atime, option));
      }
      atime = &option;
    } else if (std::none_of(std::begin(kOptions), std::end(kOptions), is)) {
      return absl::InvalidArgumentError(fmt::format(
          "mount_options '{}' is not supported; noexec, nosuid, nodev, nodiratime, noatime, "
          "relatime and strictatime are",
          option));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckMount(const model::MountSpec& mount, const SpecInputs& inputs) {
  if (!mount.image.empty() && mount.propagation == MountPropagation::kBidirectional) {
    return absl::InvalidArgumentError("an image cannot pass mounts on to the node");
  }
  // The kernel makes a user namespace's copies of shared mounts receivers only.
  if (HasUserNamespace(inputs) && mount.propagation == MountPropagation::kBidirectional) {
    return absl::InvalidArgumentError(
        "bidirectional propagation is not possible out of a user namespace");
  }
  if (mount.recursive_readonly) {
    if (!mount.readonly) {
      return absl::InvalidArgumentError("recursive_read_only needs readonly");
    }
    if (mount.propagation != MountPropagation::kPrivate) {
      return absl::InvalidArgumentError("recursive_read_only needs private propagation");
    }
    if (!inputs.abilities.recursive_readonly_mounts) {
      return absl::InvalidArgumentError(
          "the runtime handler, or this kernel, does not support recursive_read_only");
    }
  }
  return CheckOptions(mount.options);
}

// Private, unless the mount would hold on to the layers that the daemon mounts later.
std::string PropagationOption(const model::MountSpec& mount, const SpecInputs& inputs) {
  switch (mount.propagation) {
    case MountPropagation::kBidirectional:
      return "rshared";
    case MountPropagation::kHostToContainer:
      return "rslave";
    case MountPropagation::kPrivate:
      break;
  }
  const bool has_daemon_dir =
      std::any_of(inputs.daemon_dirs.begin(), inputs.daemon_dirs.end(),
                  [&](const std::string& dir) { return IsBelowOrSame(dir, mount.host_path); });
  return has_daemon_dir ? "rslave" : "rprivate";
}

// The strongest that a mount needs: shared > slave > the default.
void RaisePropagation(const std::string& option, std::string& rootfs_propagation) {
  if (option == "rshared" || (option == "rslave" && rootfs_propagation.empty())) {
    rootfs_propagation = option;
  }
}

// What an image is mounted with, whatever the request says: nothing in it can be written, run as a
// program, or used as a device, and nothing is ever mounted in it that could propagate.
Entry ImageMount(const model::MountSpec& mount, std::string source, std::string destination) {
  Entry entry = Bind(std::move(source), std::move(destination),
                     {"rprivate", "ro", "nosuid", "nodev", "noexec"});
  entry.options.insert(entry.options.end(), mount.options.begin(), mount.options.end());
  return entry;
}

absl::StatusOr<Entry> RequestedMount(const model::MountSpec& mount, const SpecInputs& inputs,
                                     std::string& rootfs_propagation) {
  RETURN_IF_ERROR(CheckMount(mount, inputs));
  ASSIGN_OR_RETURN(std::string source, CleanAbsolutePath(mount.host_path, "host path"));
  ASSIGN_OR_RETURN(std::string destination,
                   CleanAbsolutePath(mount.container_path, "container path"));
  if (destination == "/") {
    return absl::InvalidArgumentError("the root itself cannot be mounted over");
  }
  if (!mount.image.empty()) {
    return ImageMount(mount, std::move(source), std::move(destination));
  }
  const std::string propagation = PropagationOption(mount, inputs);
  RaisePropagation(propagation, rootfs_propagation);
  Entry entry = {.destination = std::move(destination),
                 .type = "bind",
                 .source = std::move(source),
                 .options = {"rbind", propagation, mount.readonly ? "ro" : "rw"}};
  if (mount.recursive_readonly) {
    entry.options.push_back("rro");
  }
  entry.options.insert(entry.options.end(), mount.options.begin(), mount.options.end());
  return entry;
}

// A mount of a CDI device. One of no type is a bind: files from before CDI 0.4 cannot say so.
absl::StatusOr<Entry> EditedMount(const model::MountEdit& edit) {
  ASSIGN_OR_RETURN(std::string destination,
                   CleanAbsolutePath(edit.container_path, "container path"));
  if (destination == "/") {
    return absl::InvalidArgumentError("the root itself cannot be mounted over");
  }
  Entry entry = {.destination = std::move(destination),
                 .type = edit.type,
                 .source = edit.host_path,
                 .options = edit.options};
  const bool says_bind =
      std::any_of(entry.options.begin(), entry.options.end(),
                  [](const std::string& option) { return option == "bind" || option == "rbind"; });
  if (entry.type.empty()) {
    entry.type = "bind";
    if (!says_bind) {
      entry.options.insert(entry.options.begin(), "rbind");
    }
  }
  return entry;
}

absl::Status AddEditedMounts(const SpecInputs& inputs, std::vector<Entry>& entries) {
  for (const model::MountEdit& edit : inputs.edits.mounts) {
    auto entry = EditedMount(edit);
    if (!entry.ok()) {
      return base::Annotate(entry.status(), fmt::format("CDI mount on '{}'", edit.container_path));
    }
    std::erase_if(entries,
                  [&](const Entry& other) { return other.destination == entry->destination; });
    entries.push_back(*std::move(entry));
  }
  return absl::OkStatus();
}

// In a user namespace crun 1.8.1 opens what it binds while it is still on the node, and that stays
// a peer of the node's mount: what is mounted on it later would appear on the node. So each says
// what it wants, as the request's do anyway.
void MakePrivate(std::vector<Entry>& entries) {
  for (Entry& entry : entries) {
    const auto has = [&entry](std::initializer_list<const char*> options) {
      return std::find_first_of(entry.options.begin(), entry.options.end(), options.begin(),
                                options.end()) != entry.options.end();
    };
    if (has({"bind", "rbind"}) && !has({"private", "rprivate", "slave", "rslave", "shared",
                                        "rshared", "unbindable", "runbindable"})) {
      entry.options.push_back("rprivate");
    }
  }
}

// A default gives way to a mount on its place, and below /dev, /sys and /run to a mount on those.
bool IsOverridden(const Entry& entry, const std::vector<Entry>& requested) {
  return std::any_of(requested.begin(), requested.end(), [&](const Entry& mount) {
    const std::string& at = mount.destination;
    const bool hides_below = at == "/dev" || at == "/sys" || at == "/run";
    return entry.destination == at || (hides_below && IsBelowOrSame(entry.destination, at));
  });
}

Json Render(const Entry& entry) {
  return {{"destination", entry.destination},
          {"type", entry.type},
          {"source", entry.source},
          {"options", entry.options}};
}

}  // namespace

absl::StatusOr<MountPlan> PlanMounts(const SpecInputs& inputs, bool is_systemd) {
  if (inputs.container.mounts.size() > kMaxMounts) {
    return absl::InvalidArgumentError(fmt::format("more than {} mounts", kMaxMounts));
  }
  MountPlan plan;
  std::vector<Entry> requested;
  for (const model::MountSpec& mount : inputs.container.mounts) {
    auto entry = RequestedMount(mount, inputs, plan.rootfs_propagation);
    if (!entry.ok()) {
      return base::Annotate(entry.status(), fmt::format("mount on '{}'", mount.container_path));
    }
    requested.push_back(*std::move(entry));
  }

  std::vector<Entry> entries;
  AddKernelFileSystems(inputs, is_systemd, entries);
  AddPodFiles(inputs, entries);
  AddDevices(inputs, entries);
  if (is_systemd) {
    AddSystemdFileSystems(entries);
  }
  entries.erase(std::remove_if(entries.begin(), entries.end(),
                               [&](const Entry& entry) { return IsOverridden(entry, requested); }),
                entries.end());
  entries.insert(entries.end(), requested.begin(), requested.end());
  RETURN_IF_ERROR(AddEditedMounts(inputs, entries));
  if (HasUserNamespace(inputs)) {
    MakePrivate(entries);
  }
  const auto depth = [](const Entry& entry) {
    return std::count(entry.destination.begin(), entry.destination.end(), '/');
  };
  std::stable_sort(entries.begin(), entries.end(),
                   [&](const Entry& a, const Entry& b) { return depth(a) < depth(b); });
  for (const Entry& entry : entries) {
    plan.mounts.push_back(Render(entry));
  }
  return plan;
}

}  // namespace berth::spec
