// TreeWriter: directories, which are made when they are needed and get their attributes at the end.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/archive/tree_writer.h"
#include "lib/archive/xattrs.h"
#include "lib/base/beneath.h"
#include "lib/base/status.h"
#include "lib/mount/overlay_marks.h"

namespace berth::archive {

absl::Status TreeWriter::ChargeDirectory(size_t bytes) {
  constexpr size_t kOverhead = 256;  // of the containers that hold it
  directory_bytes_ += bytes + kOverhead;
  if (directory_bytes_ > limits_.max_directory_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("its directories' names and attributes take more than {} bytes",
                    limits_.max_directory_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> TreeWriter::OpenParent(std::string_view parent) {
  std::vector<DirStack::Made> made;
  absl::StatusOr<int> fd = dirs_.Open(parent, &made);
  for (DirStack::Made& dir : made) {
    bytes_ += kBlock;
    ++inodes_;
    RETURN_IF_ERROR(ChargeDirectory(dir.path.size()));
    // An opaque one hides its namesake below: there is nothing it should look like.
    if (!dir.was_whiteout) {
      implicit_.insert(std::move(dir.path));
    }
  }
  return fd;
}

absl::Status TreeWriter::AddDirectory(const TarEntry& entry, const std::string& path) {
  struct stat st;
  if (path.empty()) {
    if (::fstat(root_fd_, &st) != 0) {
      return Failed(errno, "stat", "/");
    }
  } else {
    const auto [parent, name] = SplitEntryPath(path);
    ASSIGN_OR_RETURN(const int parent_fd, OpenParent(parent));
    const Place place = {parent_fd, std::string(name), path};
    bool replaced_whiteout = false;
    bool made = ::mkdirat(parent_fd, place.name.c_str(), 0755) == 0;
    if (!made && errno != EEXIST) {
      return Failed(errno, "make directory", path);
    }
    if (::fstatat(parent_fd, place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return Failed(errno, "stat", path);
    }
    if (!made && !S_ISDIR(st.st_mode)) {
      RETURN_IF_ERROR(ClearWay(place, &replaced_whiteout));
      made = true;
      if (::mkdirat(parent_fd, place.name.c_str(), 0755) != 0 ||
          ::fstatat(parent_fd, place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return Failed(errno, "make directory", path);
      }
    }
    if (replaced_whiteout) {
      base::UniqueFd dir(
          ::openat(parent_fd, place.name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!dir) {
        return Failed(errno, "open", path);
      }
      RETURN_IF_ERROR(mount::MarkOpaque(dir.get(), path));
    }
    if (made) {
      bytes_ += kBlock;
      ++inodes_;
    }
  }
  size_t size = path.size();
  for (const auto& [name, value] : entry.xattrs) {
    size += name.size() + value.size();
  }
  RETURN_IF_ERROR(ChargeDirectory(size));
  implicit_.erase(path);
  pending_.insert_or_assign(
      path, PendingDir{st.st_ino, entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs});
  return absl::OkStatus();
}

absl::Status TreeWriter::Finish() {
  for (const auto& [path, pending] : pending_) {
    RETURN_IF_ERROR(FinishDirectory(path, pending));
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::FinishDirectory(const std::string& path, const PendingDir& pending) const {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  absl::StatusOr<base::UniqueFd> fd = base::OpenBeneath(root_fd_, path, kFlags);
  if (absl::IsPermissionDenied(fd.status())) {
    fd = base::OpenInRoot(root_fd_, path, kFlags);  // by way of a symlink of this layer
  }
  struct stat st;
  if (!fd.ok()) {
    // Reached by way of a symlink that a later entry replaced.
    return absl::IsNotFound(fd.status()) || absl::IsPermissionDenied(fd.status()) ||
                   absl::IsFailedPrecondition(fd.status())
               ? absl::OkStatus()
               : fd.status();
  }
  if (::fstat(fd->get(), &st) != 0) {
    return Failed(errno, "stat", path);
  }
  if (st.st_ino != pending.inode) {
    return absl::OkStatus();
  }
  if ((st.st_uid != pending.uid || st.st_gid != pending.gid) &&
      ::fchown(fd->get(), pending.uid, pending.gid) != 0) {
    return Failed(errno, "set owner of", path);
  }
  if ((st.st_mode & 07777) != pending.mode && ::fchmod(fd->get(), pending.mode) != 0) {
    return Failed(errno, "set mode of", path);
  }
  RETURN_IF_ERROR(SetXattrs(fd->get(), pending.xattrs, path));
  const struct timespec times[2] = {pending.mtime, pending.mtime};
  if (::futimens(fd->get(), times) != 0) {
    return Failed(errno, "set times of", path);
  }
  return absl::OkStatus();
}

}  // namespace berth::archive
