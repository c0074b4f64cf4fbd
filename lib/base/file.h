// Files by path, for paths that berth itself makes (see store/paths.h). For paths inside an image
// or a container's root use beneath.h, which cannot be led out of it.
//
// Threads: free functions without state. All of them block on the disk. Every descriptor is
// close-on-exec.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/unique_fd.h"

namespace berth::base {

// Opens with O_CLOEXEC added. Errors by errno; the message names the path.
absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode = 0);

// Whole content of a file of at most max_bytes. kNotFound: no such file; kOutOfRange: larger than
// max_bytes.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes);
absl::StatusOr<std::string> ReadFd(int fd, size_t max_bytes);

// Writes all of data to fd, resuming after short writes and EINTR.
absl::Status WriteFd(int fd, std::string_view data);
// Creates or truncates the file. No fsync.
absl::Status WriteFile(const std::string& path, std::string_view data, mode_t mode);
// Same, by a temporary file beside it and rename: a reader sees the old or the new content, never a
// part. No fsync.
absl::Status WriteFileAtomic(const std::string& path, std::string_view data, mode_t mode);

// mkdir -p. Directories that are made get `mode`; those that exist are left alone.
absl::Status MakeDirs(const std::string& path, mode_t mode = 0700);
// rm -rf by descriptors, without following symlinks and without crossing into another mounted file
// system (a mount point below is kFailedPrecondition, so a forgotten bind mount never loses a
// user's files). Absent: OK.
absl::Status RemoveTree(const std::string& path);
// unlink; absent is OK.
absl::Status RemoveFile(const std::string& path);
// Names in a directory without "." and "..", sorted. kNotFound: no such directory.
absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path);
bool PathExists(const std::string& path);

}  // namespace berth::base
