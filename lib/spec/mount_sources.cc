#include "lib/spec/mount_sources.h"

#include <sys/stat.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/spec/text.h"

namespace berth::spec {
namespace {

constexpr size_t kMaxMountinfoBytes = 64 << 20;

struct Sharing {
  std::string mount_point;
  bool is_shared = false, is_slave = false;
};

// "\\040" and its like stand for the characters that separate fields.
std::string Unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 |
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// man 5 proc, mountinfo: "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw".
std::optional<Sharing> ParseLine(std::string_view line) {
  Sharing sharing;
  for (int field = 1; !line.empty(); ++field) {
    const size_t space = line.find(' ');
    const std::string_view word = line.substr(0, space);
    line.remove_prefix(space == std::string_view::npos ? line.size() : space + 1);
    if (field == 5) {
      sharing.mount_point = Unescape(word);
    } else if (field > 6 && word == "-") {
      return sharing;
    } else if (field > 6) {
      sharing.is_shared |= word.rfind("shared:", 0) == 0;
      sharing.is_slave |= word.rfind("master:", 0) == 0;
    }
  }
  return std::nullopt;
}

// Of the mount that `path` is on: the deepest one, and of equal ones the last, which lies on top.
absl::StatusOr<Sharing> FindSharing(std::string_view mountinfo, const std::string& path) {
  std::optional<Sharing> best;
  while (!mountinfo.empty()) {
    const size_t end = mountinfo.find('\n');
    auto sharing = ParseLine(mountinfo.substr(0, end));
    mountinfo.remove_prefix(end == std::string_view::npos ? mountinfo.size() : end + 1);
    if (sharing.has_value() && IsBelowOrSame(path, sharing->mount_point) &&
        (!best.has_value() || sharing->mount_point.size() >= best->mount_point.size())) {
      best = std::move(sharing);
    }
  }
  if (!best.has_value()) {
    return absl::InternalError("it is on no mount");
  }
  return *std::move(best);
}

absl::Status CheckPropagation(const model::MountSpec& mount, const std::string& proc_root) {
  if (mount.propagation == model::MountPropagation::kPrivate) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string mountinfo,
                   base::ReadFile(proc_root + "/self/mountinfo", kMaxMountinfoBytes));
  ASSIGN_OR_RETURN(const Sharing sharing, FindSharing(mountinfo, mount.host_path));
  const bool is_two_way = mount.propagation == model::MountPropagation::kBidirectional;
  if (sharing.is_shared || (sharing.is_slave && !is_two_way)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("{} propagation needs a {} mount, which '{}' is not (see mount --make-shared)",
                  is_two_way ? "bidirectional" : "host-to-container",
                  is_two_way ? "shared" : "shared or slave", sharing.mount_point));
}

absl::StatusOr<std::string> Resolve(const std::string& host_path) {
  ASSIGN_OR_RETURN(const std::string path, CleanAbsolutePath(host_path, "host path"));
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) {
      return base::ErrnoStatus(errno, "look at it");
    }
    RETURN_IF_ERROR(base::MakeDirs(path, 0755));
  }
  char real[PATH_MAX];
  if (::realpath(path.c_str(), real) == nullptr) {
    return base::ErrnoStatus(errno, "resolve it");
  }
  return std::string(real);
}

}  // namespace

absl::Status PrepareMountSources(std::vector<model::MountSpec>& mounts,
                                 const std::string& proc_root) {
  for (model::MountSpec& mount : mounts) {
    if (mount.host_path.empty()) {
      continue;
    }
    const std::string asked = mount.host_path;
    const auto prepare = [&]() -> absl::Status {
      ASSIGN_OR_RETURN(mount.host_path, Resolve(asked));
      return CheckPropagation(mount, proc_root);
    };
    if (const absl::Status status = prepare(); !status.ok()) {
      return base::Annotate(status, fmt::format("mount '{}' on '{}'", asked, mount.container_path));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::spec
