#include "lib/archive/dir_stack.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fmt/format.h"

#include "lib/archive/layer_limits.h"
#include "lib/base/beneath.h"
#include "lib/base/status.h"
#include "lib/mount/overlay_marks.h"

namespace berth::archive {

namespace {

// Folders above a layer's root, at most.
constexpr ptrdiff_t kRootDepth = 64;
constexpr int kDirFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// A symlink to the deepest directory, a directory as deep below it, a symlink to that, and so on:
// everybody who walks the tree would have to reckon with any depth.
absl::Status CheckDepth(int fd, const std::string& path) {
  constexpr ptrdiff_t kMaxDepth = LayerLimits().max_path_depth;
  char real[PATH_MAX];
  const std::string link = fmt::format("/proc/self/fd/{}", fd);
  const ssize_t size = ::readlink(link.c_str(), real, sizeof(real));
  if (size < 0 && errno != ENAMETOOLONG) {
    return base::ErrnoStatus(errno, fmt::format("look where '{:.256}' leads", path));
  }
  // Where the root itself is counts as well.
  if (size < 0 || std::count(real, real + size, '/') > kMaxDepth + kRootDepth) {
    return absl::InvalidArgumentError(
        fmt::format("'{:.256}' leads to a directory deeper than {} levels", path, kMaxDepth));
  }
  return absl::OkStatus();
}

}  // namespace

void DirStack::Forget() {
  levels_.clear();
  path_.clear();
}

absl::StatusOr<base::UniqueFd> DirStack::Step(int parent_fd, const std::string& name,
                                              const std::string& path, std::vector<Made>* made,
                                              bool& by_symlink) const {
  base::UniqueFd fd(::openat(parent_fd, name.c_str(), kDirFlags));
  if (fd) {
    return fd;
  }
  struct stat st = {};
  if (errno == ENOTDIR) {
    if (::fstatat(parent_fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return base::ErrnoStatus(errno, fmt::format("stat '{}'", path));
    }
    if (S_ISLNK(st.st_mode)) {
      by_symlink = true;
      ASSIGN_OR_RETURN(base::UniqueFd target,
                       base::OpenInRoot(root_fd_, path, O_PATH | O_DIRECTORY));
      RETURN_IF_ERROR(CheckDepth(target.get(), path));
      return target;
    }
    if (!mount::IsWhiteout(st) || made == nullptr) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' is used as a directory and is none", path));
    }
    if (::unlinkat(parent_fd, name.c_str(), 0) != 0) {
      return base::ErrnoStatus(errno, fmt::format("replace whiteout '{}'", path));
    }
  } else if (errno != ENOENT || made == nullptr) {
    return base::ErrnoStatus(errno, fmt::format("open directory '{}'", path));
  }
  if (::mkdirat(parent_fd, name.c_str(), 0755) != 0) {
    return base::ErrnoStatus(errno, fmt::format("make directory '{}'", path));
  }
  fd.Reset(::openat(parent_fd, name.c_str(), kDirFlags));
  if (!fd) {
    return base::ErrnoStatus(errno, fmt::format("open directory '{}'", path));
  }
  const bool was_whiteout = S_ISCHR(st.st_mode);
  if (was_whiteout) {
    RETURN_IF_ERROR(mount::MarkOpaque(fd.get(), path));
  }
  made->push_back({path, was_whiteout});
  return fd;
}

absl::StatusOr<int> DirStack::Open(std::string_view clean, std::vector<Made>* made) {
  // Keep the levels that are an ancestor of `clean`, or itself.
  while (!levels_.empty()) {
    const size_t end = levels_.back().end;
    if (clean.size() >= end && clean.substr(0, end) == std::string_view(path_).substr(0, end) &&
        (clean.size() == end || clean[end] == '/')) {
      break;
    }
    levels_.pop_back();
  }
  path_.resize(levels_.empty() ? 0 : levels_.back().end);
  while (path_.size() < clean.size()) {
    const size_t begin = path_.empty() ? 0 : path_.size() + 1;
    const size_t end = std::min(clean.find('/', begin), clean.size());
    const std::string name(clean.substr(begin, end - begin));
    std::string path(clean.substr(0, end));
    const int parent_fd = levels_.empty() ? root_fd_ : levels_.back().fd.get();
    bool is_by_symlink = by_symlink();
    ASSIGN_OR_RETURN(base::UniqueFd fd, Step(parent_fd, name, path, made, is_by_symlink));
    levels_.push_back({end, std::move(fd), is_by_symlink});
    path_ = std::move(path);
  }
  return levels_.empty() ? root_fd_ : levels_.back().fd.get();
}

}  // namespace berth::archive
