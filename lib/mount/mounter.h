// Mounter: the seam to mount(2), umount2(2) and the mount table.
//
// SyscallMounter is the real one; testing/fake_mounter.h keeps a table in memory.
// Threads: thread-safe. All calls block.
// Errors: by errno, naming the target; codes as in base::ErrnoStatus.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace berth::mount {

struct MountRequest {
  std::string source = {};
  std::string target = {};   // absolute; must exist
  std::string fstype = {};   // empty for binds, remounts and propagation changes
  unsigned long flags = 0;   // MS_*
  std::string options = {};  // file system specific; at most kMaxOptionBytes
  // Not empty: relative names in source and options are relative to this directory. It keeps a long
  // list of lower directories of an overlay short. The working directory of the process does not
  // change.
  std::string working_directory = {};
};

// A mount that shows another one's files with other owners (man 2 mount_setattr, "ID-mapped
// mounts").
struct IdMappedMount {
  std::string source = {};  // absolute; a mount, or a directory or file of one
  std::string target = {};  // absolute; must exist, and be a directory or not as the source is
  // A user namespace: what it calls id N inside is who owns there what N owns in the file system.
  int user_namespace_fd = -1;
  bool recursive = false;  // with what is mounted beneath the source
  bool read_only = false;
  // What is mounted beneath the source later appears here as well, with its ids as they are; else
  // not. Never the other way round.
  bool is_slave = false;
};

// The kernel copies one page of options, ending in a zero byte.
inline constexpr size_t kMaxOptionBytes = 4095;

class Mounter {
 public:
  virtual ~Mounter() = default;

  // kOutOfRange: the options are longer than the kernel takes.
  virtual absl::Status Mount(const MountRequest& request) = 0;

  // kUnimplemented: a file system in it has no id-mapped mounts (on this kernel).
  virtual absl::Status MountIdMapped(const IdMappedMount& request) = 0;

  // Unmounts what is mounted at `target` (the top one only), without following a symlink there.
  // What is not a mount point or does not exist is OK. `detach`: out of the tree now, freed when
  // the last user is gone (MNT_DETACH); without it a busy mount is kFailedPrecondition.
  virtual absl::Status Unmount(const std::string& target, bool detach) = 0;

  // True when something is mounted exactly at `path` (in this mount namespace). kNotFound: no such
  // path.
  virtual absl::StatusOr<bool> IsMountPoint(const std::string& path) = 0;

  // Every mount point at or below the absolute, clean path `path`, in the order to unmount them:
  // deepest and newest first; a path mounted over several times is listed as often.
  virtual absl::StatusOr<std::vector<std::string>> MountsUnder(const std::string& path) = 0;
};

}  // namespace berth::mount
