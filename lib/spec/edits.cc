#include "lib/spec/edits.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/spec/text.h"

namespace berth::spec {
namespace {

constexpr mode_t kDefaultMode = 0666;  // as the OCI runtimes have it

char TypeOf(mode_t mode) {
  return S_ISBLK(mode) ? 'b' : S_ISCHR(mode) ? 'c' : S_ISFIFO(mode) ? 'p' : '\0';
}

// A node that the edit describes in full need not exist.
absl::Status FillIn(const model::DeviceEdit& edit, HostDevice& host) {
  const bool is_whole = edit.type != '\0' && (edit.major != 0 || edit.type == 'p');
  struct stat status = {};
  if (::stat(host.path.c_str(), &status) != 0) {
    return is_whole ? absl::OkStatus()
                    : base::ErrnoStatus(errno, fmt::format("find '{}' on the node", host.path));
  }
  if (!edit.mode) {
    host.mode = status.st_mode & 07777;
  }
  if (is_whole) {
    return absl::OkStatus();
  }
  const char type = TypeOf(status.st_mode);
  const char wanted = edit.type == 'u' ? 'c' : edit.type;
  if (type == '\0' || (wanted != '\0' && wanted != type)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' of the node is not a device of that type", host.path));
  }
  host.type = type;
  if (type != 'p' && edit.major == 0) {
    host.major = static_cast<int64_t>(major(status.st_rdev));
    host.minor = static_cast<int64_t>(minor(status.st_rdev));
  }
  return absl::OkStatus();
}

absl::StatusOr<Device> ResolveDevice(const model::DeviceEdit& edit,
                                     const model::ContainerUser& user) {
  Device device;
  ASSIGN_OR_RETURN(device.container_path,
                   CleanAbsolutePath(edit.container_path, "path in the container"));
  HostDevice& host = device.host;
  host.path = edit.host_path.empty() ? edit.container_path : edit.host_path;
  host.type = edit.type == '\0' ? 'c' : edit.type;
  host.major = edit.major;
  host.minor = edit.minor;
  host.mode = edit.mode.value_or(kDefaultMode);
  host.uid = edit.uid.value_or(static_cast<uid_t>(user.uid));
  host.gid = edit.gid.value_or(static_cast<gid_t>(user.gid));
  device.access = edit.access;
  RETURN_IF_ERROR(FillIn(edit, host));
  return device;
}

absl::Status CheckMountSource(const model::MountEdit& mount) {
  const bool is_bind =
      mount.type.empty() ||
      std::any_of(mount.options.begin(), mount.options.end(),
                  [](const std::string& option) { return option == "bind" || option == "rbind"; });
  if (is_bind && !base::PathExists(mount.host_path)) {
    return absl::NotFoundError(fmt::format("CDI mount on '{}': there is no '{}' on the node",
                                           mount.container_path, mount.host_path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Device>> PrepareEdits(const model::ContainerEdits& edits,
                                                 model::ContainerUser& user,
                                                 const std::string& sys_root) {
  std::vector<Device> devices;
  for (const model::DeviceEdit& edit : edits.devices) {
    absl::StatusOr<Device> device = ResolveDevice(edit, user);
    if (!device.ok()) {
      return base::Annotate(device.status(),
                            fmt::format("CDI device node '{}'", edit.container_path));
    }
    std::erase_if(devices, [&](const Device& other) {
      return other.container_path == device->container_path;
    });
    devices.push_back(*std::move(device));
  }
  for (const model::MountEdit& mount : edits.mounts) {
    RETURN_IF_ERROR(CheckMountSource(mount));
  }
  if (edits.intel_rdt && !base::PathExists(sys_root + "/fs/resctrl/schemata")) {
    return absl::FailedPreconditionError(
        "a CDI device asks for Intel RDT, and resctrl is not mounted on this node");
  }
  for (const uint32_t gid : edits.additional_gids) {
    std::vector<int64_t>& groups = user.supplemental_groups;
    if (std::find(groups.begin(), groups.end(), gid) == groups.end()) {
      groups.push_back(gid);
    }
  }
  return devices;
}

}  // namespace berth::spec
