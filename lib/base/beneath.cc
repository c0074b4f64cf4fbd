#include "lib/base/beneath.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

#include <linux/openat2.h>

namespace berth::base {

namespace {

absl::StatusOr<UniqueFd> Open2(int root_fd, const std::string& path, int flags, mode_t mode,
                               uint64_t resolve) {
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("path holds a NUL byte");
  }
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = resolve;
  const char* name = path.empty() ? "." : path.c_str();
  long fd;
  do {
    fd = ::syscall(SYS_openat2, root_fd, name, &how, sizeof(how));
    // EAGAIN: a rename elsewhere raced with the resolution of "..".
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  if (fd < 0) {
    if (errno == EXDEV || errno == ELOOP) {
      return absl::PermissionDeniedError(
          fmt::format("open '{}': the path leads out of its root", path));
    }
    return ErrnoStatus(errno, fmt::format("open '{}'", path));
  }
  return UniqueFd(static_cast<int>(fd));
}

}  // namespace

absl::StatusOr<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags, mode_t mode) {
  return Open2(root_fd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

absl::StatusOr<UniqueFd> OpenBeneath(int root_fd, const std::string& path, int flags, mode_t mode) {
  return Open2(root_fd, path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

absl::Status GiveTo(const Owner& owner, int dir_fd, const std::string& name) {
  const bool is_given = owner == Owner() || ::fchownat(dir_fd, name.c_str(), owner.uid, owner.gid,
                                                       AT_SYMLINK_NOFOLLOW) == 0;
  return is_given ? absl::OkStatus() : ErrnoStatus(errno, fmt::format("give '{}' away", name));
}

absl::StatusOr<UniqueFd> MakeDirsInRoot(int root_fd, const std::string& path, mode_t mode,
                                        const Owner& owner) {
  // What exists is opened whole first, so that symlinks in it resolve from the root, not from their
  // own directory.
  std::string made;
  ASSIGN_OR_RETURN(UniqueFd current, OpenInRoot(root_fd, ".", O_PATH | O_DIRECTORY));
  size_t begin = 0;
  while (begin < path.size()) {
    size_t end = path.find('/', begin);
    if (end == std::string::npos) {
      end = path.size();
    }
    const std::string name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty() || name == ".") {
      continue;
    }
    made += "/" + name;
    absl::StatusOr<UniqueFd> next = OpenInRoot(root_fd, made, O_PATH | O_DIRECTORY);
    if (absl::IsNotFound(next.status())) {
      if (name == "..") {
        return next.status();
      }
      if (::mkdirat(current.get(), name.c_str(), mode) != 0 && errno != EEXIST) {
        return ErrnoStatus(errno, fmt::format("make directory '{}'", made));
      }
      RETURN_IF_ERROR(
          Annotate(GiveTo(owner, current.get(), name), fmt::format("make directory '{}'", made)));
      next = OpenInRoot(root_fd, made, O_PATH | O_DIRECTORY);
    }
    if (!next.ok()) {
      return next.status();
    }
    current = *std::move(next);
  }
  return current;
}

absl::StatusOr<std::string> ReadFileInRoot(int root_fd, const std::string& path, size_t max_bytes) {
  // O_NONBLOCK: a fifo planted under this name must not hang the daemon.
  ASSIGN_OR_RETURN(UniqueFd fd, OpenInRoot(root_fd, path, O_RDONLY | O_NONBLOCK));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) {
    return ErrnoStatus(errno, fmt::format("stat '{}'", path));
  }
  if (!S_ISREG(st.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("'{}' is not a regular file", path));
  }
  absl::StatusOr<std::string> data = ReadFd(fd.get(), max_bytes);
  if (!data.ok()) {
    return Annotate(data.status(), fmt::format("read '{}'", path));
  }
  return data;
}

}  // namespace berth::base
