#include "lib/spec/devices.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/spec/text.h"

namespace berth::spec {
namespace {

constexpr size_t kMaxDevices = 1024;
constexpr int kMaxDepth = 8;

// A container has these of its own, or they make sense to one terminal only.
bool IsLeftOut(const std::string& name) {
  static constexpr std::string_view kNames[] = {"pts",     "shm",         "fd",   "mqueue",
                                                "console", "tty",         "ptmx", "log",
                                                ".lxc",    ".lxd-mounts", ".udev"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

HostDevice MakeDevice(const std::string& path, const struct stat& status) {
  return HostDevice{.path = path,
                    .type = S_ISBLK(status.st_mode) ? 'b' : 'c',
                    .major = static_cast<int64_t>(major(status.st_rdev)),
                    .minor = static_cast<int64_t>(minor(status.st_rdev)),
                    .mode = status.st_mode & 07777,
                    .uid = status.st_uid,
                    .gid = status.st_gid};
}

// Appends the device nodes below `dir`. `is_dev`: it is /dev, of which some names are left out.
absl::Status Walk(const std::string& dir, bool is_dev, int depth, std::vector<HostDevice>& found) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, base::ListDir(dir));
  for (const std::string& name : names) {
    if (is_dev && IsLeftOut(name)) {
      continue;
    }
    const std::string path = dir == "/" ? "/" + name : dir + "/" + name;
    struct stat status = {};
    if (::lstat(path.c_str(), &status) != 0) {
      continue;  // gone since it was listed
    }
    if (S_ISDIR(status.st_mode) && depth < kMaxDepth) {
      RETURN_IF_ERROR(Walk(path, false, depth + 1, found));
    } else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
      if (found.size() >= kMaxDevices) {
        return absl::OutOfRangeError(
            fmt::format("more than {} devices below '{}'", kMaxDevices, dir));
      }
      found.push_back(MakeDevice(path, status));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> CheckAccess(const std::string& permissions) {
  std::string access;
  for (const char c : permissions) {
    if (c != 'r' && c != 'w' && c != 'm') {
      return absl::InvalidArgumentError(
          fmt::format("permissions '{}' are not of 'r', 'w' and 'm'", permissions));
    }
    if (access.find(c) == std::string::npos) {
      access += c;
    }
  }
  return access.empty() ? std::string("rwm") : access;
}

absl::Status ResolveOne(const model::DeviceSpec& request, std::vector<Device>& devices) {
  ASSIGN_OR_RETURN(const std::string host_path,
                   CleanAbsolutePath(request.host_path, "path on the node"));
  ASSIGN_OR_RETURN(
      const std::string container_path,
      CleanAbsolutePath(request.container_path.empty() ? host_path : request.container_path,
                        "path in the container"));
  ASSIGN_OR_RETURN(const std::string access, CheckAccess(request.permissions));

  char real[PATH_MAX];
  struct stat status = {};
  if (::realpath(host_path.c_str(), real) == nullptr || ::stat(real, &status) != 0) {
    return base::ErrnoStatus(errno, "find it on the node");
  }
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
    devices.push_back(
        {.host = MakeDevice(real, status), .container_path = container_path, .access = access});
    return absl::OkStatus();
  }
  if (!S_ISDIR(status.st_mode)) {
    return absl::InvalidArgumentError("neither a device nor a directory");
  }
  std::vector<HostDevice> found;
  RETURN_IF_ERROR(Walk(real, false, 0, found));
  const std::string top = real;
  for (HostDevice& device : found) {
    std::string inside = container_path + device.path.substr(top.size());
    devices.push_back(
        {.host = std::move(device), .container_path = std::move(inside), .access = access});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<HostDevice>> ListHostDevices(const std::string& dev_dir) {
  std::vector<HostDevice> found;
  RETURN_IF_ERROR(Walk(dev_dir, true, 0, found));
  std::sort(found.begin(), found.end(),
            [](const HostDevice& a, const HostDevice& b) { return a.path < b.path; });
  return found;
}

absl::StatusOr<std::vector<Device>> ResolveDevices(
    const std::vector<model::DeviceSpec>& requested) {
  std::vector<Device> devices;
  for (const model::DeviceSpec& request : requested) {
    if (const absl::Status status = ResolveOne(request, devices); !status.ok()) {
      return base::Annotate(status, fmt::format("device '{}'", request.host_path));
    }
    if (devices.size() > kMaxDevices) {
      return absl::OutOfRangeError(fmt::format("more than {} devices", kMaxDevices));
    }
  }
  return devices;
}

}  // namespace berth::spec
