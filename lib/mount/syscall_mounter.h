// SyscallMounter: Mounter by the system calls, in the mount namespace of the calling thread. Needs
// CAP_SYS_ADMIN.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/mount/mounter.h"

namespace berth::mount {

class SyscallMounter : public Mounter {
 public:
  absl::Status Mount(const MountRequest& request) override;
  absl::Status MountIdMapped(const IdMappedMount& request) override;
  absl::Status Unmount(const std::string& target, bool detach) override;
  absl::StatusOr<bool> IsMountPoint(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> MountsUnder(const std::string& path) override;
};

// Runs `work` on a thread, and the threads it starts, in a copy of the mount namespace: what it
// mounts is seen by nobody else and ends with it, also when this process is killed.
absl::Status RunInPrivateMounts(const std::function<absl::Status()>& work);

// One line of /proc/PID/mountinfo (proc(5)), as far as berth needs it.
struct MountInfoEntry {
  std::string mount_point;
  std::string fstype;
  std::string source;
  std::string super_options;
  std::vector<std::string> optional_fields;  // "shared:2", "master:1", ...
};

// All lines, oldest mount first. kDataLoss: a line is not of that form.
absl::StatusOr<std::vector<MountInfoEntry>> ParseMountInfo(const std::string& text);

}  // namespace berth::mount
