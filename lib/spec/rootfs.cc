#include "lib/spec/rootfs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/base/beneath.h"
#include "lib/base/status.h"

namespace berth::spec {
namespace {

absl::Status MakeMtab(int root_fd, const base::Owner& owner) {
  const auto etc = base::OpenInRoot(root_fd, "etc", O_PATH | O_DIRECTORY);
  // An image without /etc, or with something else there, has no use for the link.
  if (!etc.ok()) {
    return absl::OkStatus();
  }
  if (::symlinkat("/proc/mounts", etc->get(), "mtab") != 0) {
    return errno == EEXIST || errno == EROFS ? absl::OkStatus()
                                             : base::ErrnoStatus(errno, "link /etc/mtab");
  }
  return base::GiveTo(owner, etc->get(), "mtab");
}

absl::Status CheckMountPoints(int root_fd) {
  for (const char* name : {"dev", "proc", "sys"}) {
    struct stat st;
    if (::fstatat(root_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
      return absl::FailedPreconditionError(fmt::format(
          "the image's '/{}' is a symbolic link; a container needs a directory there", name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PrepareRootfs(int root_fd, const std::vector<std::string>& dirs,
                           const base::Owner& owner) {
  RETURN_IF_ERROR(CheckMountPoints(root_fd));
  for (const std::string& dir : dirs) {
    const auto made = base::MakeDirsInRoot(root_fd, dir, 0755, owner);
    if (!made.ok()) {
      return base::Annotate(made.status(), fmt::format("make '{}' in the root file system", dir));
    }
  }
  return MakeMtab(root_fd, owner);
}

}  // namespace berth::spec
