// Opening files beneath a directory whose content is not trusted: an unpacked layer, a container's
// root. openat2(2): no path can lead out of the root, by "..", by absolute names or by symlinks.
//
// Threads: no state. Errors: kNotFound; kPermissionDenied (EXDEV/ELOOP: the path tried to leave the
// root) ; others by errno.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"

#include "lib/base/unique_fd.h"

namespace berth::base {

// Opens `path` with the root directory as "/": absolute symlinks are resolved inside the root
// (RESOLVE_IN_ROOT, no magic links), as the process in the container would see it. `flags` gets
// O_CLOEXEC.
absl::StatusOr<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags,
                                    mode_t mode = 0);

// Opens `path` relative to root_fd and fails where a component is a symlink or leads out
// (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS): for trees that berth itself is writing.
absl::StatusOr<UniqueFd> OpenBeneath(int root_fd, const std::string& path, int flags,
                                     mode_t mode = 0);

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
  bool operator==(const Owner&) const = default;
};

// Changes the owner of what was just made, which is root's, without following a symlink.
absl::Status GiveTo(const Owner& owner, int dir_fd, const std::string& name);

// mkdir -p inside the root with symlinks resolved in the root; returns an O_PATH|O_DIRECTORY
// descriptor of the last one. Directories that are made belong to `owner`.
absl::StatusOr<UniqueFd> MakeDirsInRoot(int root_fd, const std::string& path, mode_t mode,
                                        const Owner& owner = Owner());

// Reads at most max_bytes of a regular file inside the root; kOutOfRange when larger,
// kInvalidArgument when not regular.
absl::StatusOr<std::string> ReadFileInRoot(int root_fd, const std::string& path, size_t max_bytes);

}  // namespace berth::base
