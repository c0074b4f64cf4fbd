#include "lib/cgroup/cgroup_path.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::cgroup {

namespace {

constexpr std::string_view kSliceSuffix = ".slice";
constexpr size_t kMaxParent = 1024;
constexpr size_t kMaxUnitName = 255;

bool IsSlice(const std::string& name) { return absl::EndsWith(name, std::string(kSliceSuffix)); }

// Characters of unit names, systemd.unit(5); '-' separates slices, '\' starts an escape.
bool IsUnitText(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view(":-_.\\@").find(c) != std::string_view::npos;
  });
}

// Absolute, without empty, "." and ".." components, printable.
bool IsCleanPath(std::string_view path) {
  if (path.empty() || path[0] != '/' || path.size() > kMaxParent ||
      std::any_of(path.begin(), path.end(), [](char c) { return c <= ' ' || c == 0x7f; })) {
    return false;
  }
  if (path == "/") {
    return true;
  }
  for (size_t begin = 1; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view component = path.substr(begin, end - begin);
    if (component.empty() || component == "." || component == "..") {
      return false;
    }
    begin = end + 1;
  }
  return true;
}

std::string OrDefault(Driver driver, const std::string& parent) {
  return parent.empty() ? std::string(DefaultParent(driver)) : parent;
}

// The part after the last '/', if there is one.
std::string LastName(const std::string& parent) { return parent.substr(parent.rfind('/') + 1); }

// The cgroup of a slice given by its name, or as the kubelet does, by its cgroup. Another path is
// refused: systemd would put the slice elsewhere.
absl::StatusOr<std::string> ExpandParent(const std::string& parent) {
  ASSIGN_OR_RETURN(std::string cgroup, ExpandSlice(LastName(parent)));
  if (parent.find('/') != std::string::npos && parent != cgroup) {
    return absl::InvalidArgumentError(
        fmt::format("systemd has the slice '{}' at '{}'; give that, or the name alone",
                    LastName(parent), cgroup));
  }
  return cgroup;
}

}  // namespace

std::string_view DriverName(Driver driver) {
  return driver == Driver::kSystemd ? "systemd" : "cgroupfs";
}

std::string_view DefaultParent(Driver driver) {
  return driver == Driver::kSystemd ? "system.slice" : "/berth";
}

absl::Status ValidateParent(Driver driver, const std::string& parent) {
  if (parent.empty()) {
    return absl::OkStatus();
  }
  const std::string shown = parent.substr(0, 128);
  if (driver == Driver::kSystemd) {
    if (!IsSlice(parent)) {
      return absl::InvalidArgumentError(
          fmt::format("cgroup parent '{}': the cgroup driver is systemd, whose parents are slices "
                      "such as 'kubepods-pod1.slice'; "
                      "check that the kubelet uses the same driver",
                      shown));
    }
    return base::Annotate(ExpandParent(parent).status(), fmt::format("cgroup parent '{}'", shown));
  }
  if (IsSlice(parent)) {
    return absl::InvalidArgumentError(
        fmt::format("cgroup parent '{}': the cgroup driver is cgroupfs, whose parents are absolute "
                    "paths such as '/kubepods/pod1'; "
                    "check that the kubelet uses the same driver",
                    shown));
  }
  if (!IsCleanPath(parent)) {
    return absl::InvalidArgumentError(fmt::format(
        "cgroup parent '{}' is not a clean absolute path such as '/kubepods/pod1'", shown));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> SpecCgroupsPath(Driver driver, const std::string& parent,
                                            const std::string& id) {
  if (driver == Driver::kCgroupfs) {
    return CgroupOf(driver, parent, id);
  }
  ASSIGN_OR_RETURN(const std::string slice, ParentSlice(parent));
  return fmt::format("{}:berth:{}", slice, id);
}

absl::StatusOr<std::string> CgroupOf(Driver driver, const std::string& parent,
                                     const std::string& id) {
  ASSIGN_OR_RETURN(const std::string above, ParentCgroup(driver, parent));
  const std::string name = driver == Driver::kSystemd ? ScopeName(id) : fmt::format("berth-{}", id);
  return fmt::format("{}/{}", above == "/" ? "" : above, name);
}

absl::StatusOr<std::string> ParentCgroup(Driver driver, const std::string& parent) {
  RETURN_IF_ERROR(ValidateParent(driver, parent));
  const std::string given = OrDefault(driver, parent);
  if (driver == Driver::kSystemd) {
    return ExpandParent(given);
  }
  return given;
}

absl::StatusOr<std::string> ParentSlice(const std::string& parent) {
  RETURN_IF_ERROR(ValidateParent(Driver::kSystemd, parent));
  return LastName(OrDefault(Driver::kSystemd, parent));
}

absl::StatusOr<std::string> ExpandSlice(const std::string& slice) {
  if (slice == "-.slice") {
    return "/";
  }
  const std::string stem =
      slice.substr(0, slice.size() - std::min(slice.size(), kSliceSuffix.size()));
  if (!IsSlice(slice) || slice.size() > kMaxUnitName || stem.empty() || stem.front() == '-' ||
      stem.back() == '-' || stem.find("--") != std::string::npos || !IsUnitText(stem)) {
    return absl::InvalidArgumentError("not the name of a slice");
  }
  std::string path;
  for (size_t dash = stem.find('-'); dash != std::string::npos; dash = stem.find('-', dash + 1)) {
    path += fmt::format("/{}{}", stem.substr(0, dash), kSliceSuffix);
  }
  return path + "/" + slice;
}

std::string ScopeName(const std::string& id) { return fmt::format("berth-{}.scope", id); }

int64_t MemoryLimitMinimum(std::string_view runtime) {
  constexpr int64_t kCrun = 500 << 10;   // C, and small
  constexpr int64_t kOthers = 12 << 20;  // runc's init is a Go program
  return runtime == "crun" ? kCrun : kOthers;
}

}  // namespace berth::cgroup
