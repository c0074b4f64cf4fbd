#include "lib/mount/overlay_marks.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::mount {

namespace {

constexpr char kOpaqueXattr[] = "trusted.overlay.opaque";

}  // namespace

absl::Status MarkOpaque(int dir_fd, const std::string& path) {
  // fsetxattr does not take O_PATH descriptors.
  base::UniqueFd fd(::openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsetxattr(fd.get(), kOpaqueXattr, "y", 1, 0) != 0) {
    return base::ErrnoStatus(errno, fmt::format("mark directory '{}' opaque", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> IsOpaque(int dir_fd) {
  base::UniqueFd fd(::openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  char value = 0;
  const ssize_t size = fd ? ::fgetxattr(fd.get(), kOpaqueXattr, &value, 1) : -1;
  if (size < 0 && errno != ENODATA && errno != ERANGE && errno != ENOTSUP) {
    return base::ErrnoStatus(errno, "read overlay attribute");
  }
  return size == 1 && value == 'y';
}

}  // namespace berth::mount
