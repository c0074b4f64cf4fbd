#include "lib/image/implicit_dirs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>

#include "absl/strings/str_split.h"
#include "fmt/format.h"

#include "lib/base/beneath.h"
#include "lib/base/status.h"
#include "lib/mount/overlay_marks.h"

namespace berth::image {

namespace {

struct Lookup {
  std::optional<struct stat> directory;
  bool is_hidden = false;  // what lies further down is not seen
};

absl::StatusOr<Lookup> LookUp(int root_fd, const std::string& path) {
  Lookup lookup;
  base::UniqueFd current(::openat(root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    ASSIGN_OR_RETURN(const bool is_opaque, mount::IsOpaque(current.get()));
    lookup.is_hidden = lookup.is_hidden || is_opaque;
    const std::string name(part);
    base::UniqueFd next(
        ::openat(current.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next && errno == ENOENT) {
      return lookup;
    }
    if (!next && errno == ENOTDIR) {
      lookup.is_hidden = true;
      return lookup;
    }
    if (!next) {
      return base::ErrnoStatus(errno, fmt::format("open '{}'", path));
    }
    current = std::move(next);
  }
  struct stat st;
  if (::fstat(current.get(), &st) != 0) {
    return base::ErrnoStatus(errno, fmt::format("stat '{}'", path));
  }
  lookup.directory = st;
  return lookup;
}

absl::Status Copy(int root_fd, const std::string& path, const struct stat& from) {
  const absl::StatusOr<base::UniqueFd> to =
      base::OpenBeneath(root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!to.ok()) {
    // By way of a symlink of the layer, or gone again: then it is described by what it leads to.
    return absl::IsNotFound(to.status()) || absl::IsPermissionDenied(to.status()) ||
                   absl::IsFailedPrecondition(to.status())
               ? absl::OkStatus()
               : to.status();
  }
  const struct timespec times[2] = {from.st_mtim, from.st_mtim};
  if (::fchown(to->get(), from.st_uid, from.st_gid) != 0 ||
      ::fchmod(to->get(), from.st_mode & 07777) != 0 || ::futimens(to->get(), times) != 0) {
    return base::ErrnoStatus(errno, fmt::format("set attributes of '{}'", path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status InheritDirs(const snapshot::OverlaySnapshotter& snapshotter, int64_t layer,
                         const std::vector<std::string>& dirs, const std::vector<int64_t>& below) {
  if (dirs.empty() || below.empty()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const base::UniqueFd root, snapshotter.OpenLayerDir(layer));
  std::vector<base::UniqueFd> lower;
  for (const int64_t number : below) {
    ASSIGN_OR_RETURN(base::UniqueFd fd, snapshotter.OpenLayerDir(number));
    lower.push_back(std::move(fd));
  }
  for (const std::string& path : dirs) {
    for (const base::UniqueFd& fd : lower) {
      ASSIGN_OR_RETURN(const Lookup found, LookUp(fd.get(), path));
      if (found.directory.has_value()) {
        RETURN_IF_ERROR(Copy(root.get(), path, *found.directory));
      }
      if (found.directory.has_value() || found.is_hidden) {
        break;
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::image
