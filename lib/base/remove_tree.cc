#include "lib/base/remove_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::base {

namespace {

// Containers nest directories as deep as they like, deeper than a stack or than there are
// descriptors.
constexpr int kMaxDepth = 64;

// Where what lies deeper than that is moved to, to be removed from there.
struct Top {
  int fd;
  dev_t device;  // another file system below is somebody's mount
  uint64_t moved = 0;
};

absl::Status MoveUp(Top& top, int dir_fd, const std::string& name, const std::string& path) {
  while (::renameat2(dir_fd, name.c_str(), top.fd, fmt::format("deep-{}", top.moved++).c_str(),
                     RENAME_NOREPLACE) != 0) {
    if (errno != EEXIST) {
      return ErrnoStatus(errno, fmt::format("move '{}' up to remove it", path));
    }
  }
  return absl::OkStatus();
}

// Empties the directory behind dir_fd.
absl::Status RemoveChildren(const OpContext& ctx, Top& top, int dir_fd, const std::string& path,
                            int depth) {
  UniqueFd own(::openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!own) {
    return ErrnoStatus(errno, fmt::format("open '{}'", path));
  }
  DIR* dir = ::fdopendir(own.get());
  if (dir == nullptr) {
    return ErrnoStatus(errno, fmt::format("read directory '{}'", path));
  }
  own.Release();
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      names.emplace_back(name);
    }
  }
  ::closedir(dir);
  for (const std::string& name : names) {
    RETURN_IF_ERROR(ctx.Check());
    if (::unlinkat(dir_fd, name.c_str(), 0) == 0 || errno == ENOENT) {
      continue;
    }
    const std::string child_path = path + "/" + name;
    if (errno != EISDIR && errno != EPERM) {
      return ErrnoStatus(errno, fmt::format("remove '{}'", child_path));
    }
    UniqueFd child(::openat(dir_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child) {
      return ErrnoStatus(errno, fmt::format("open '{}'", child_path));
    }
    struct stat st;
    if (::fstat(child.get(), &st) != 0) {
      return ErrnoStatus(errno, fmt::format("stat '{}'", child_path));
    }
    if (st.st_dev != top.device) {
      return absl::FailedPreconditionError(fmt::format(
          "remove '{}': another file system is mounted there; unmount it first", child_path));
    }
    if (depth == kMaxDepth) {
      RETURN_IF_ERROR(MoveUp(top, dir_fd, name, child_path));
      continue;
    }
    RETURN_IF_ERROR(RemoveChildren(ctx, top, child.get(), child_path, depth + 1));
    if (::unlinkat(dir_fd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
      return ErrnoStatus(errno, fmt::format("remove directory '{}'", child_path));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RemoveTree(const OpContext& ctx, const std::string& path) {
  struct stat st;
  if (::lstat(path.c_str(), &st) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, fmt::format("stat '{}'", path));
  }
  if (!S_ISDIR(st.st_mode)) {
    return RemoveFile(path);
  }
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    return ErrnoStatus(errno, fmt::format("open '{}'", path));
  }
  Top top = {fd.get(), st.st_dev};
  uint64_t moved_before;
  do {
    moved_before = top.moved;
    RETURN_IF_ERROR(RemoveChildren(ctx, top, fd.get(), path, 0));
  } while (top.moved != moved_before);
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, fmt::format("remove directory '{}'", path));
  }
  return absl::OkStatus();
}

}  // namespace berth::base
