// How overlayfs marks what a layer hides of those below it
// (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"): a character device
// 0:0, and an xattr on a directory. Free functions on descriptors, for trusted callers.
#pragma once

#include <sys/stat.h>

#include <string>

#include "absl/status/statusor.h"

namespace berth::mount {

inline bool IsWhiteout(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == 0; }

// dir_fd may be an O_PATH descriptor. `path` is for messages.
absl::Status MarkOpaque(int dir_fd, const std::string& path);
absl::StatusOr<bool> IsOpaque(int dir_fd);

}  // namespace berth::mount
