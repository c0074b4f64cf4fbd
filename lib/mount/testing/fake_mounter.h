// FakeMounter: a mount table in memory, for tests of what mounts and unmounts. Records every
// request.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "lib/base/mutex.h"
#include "lib/mount/mounter.h"

namespace berth::mount {

class FakeMounter : public Mounter {
 public:
  absl::Status Mount(const MountRequest& request) override {
    base::MutexLock lock(mu_);
    if (!next_mount_error_.ok()) {
      return std::exchange(next_mount_error_, absl::OkStatus());
    }
    requests_.push_back(request);
    table_.push_back(request.target);
    return absl::OkStatus();
  }

  absl::Status MountIdMapped(const IdMappedMount& request) override {
    return Mount({.source = request.source, .target = request.target});
  }

  absl::Status Unmount(const std::string& target, bool /*detach*/) override {
    base::MutexLock lock(mu_);
    const auto last = std::find(table_.rbegin(), table_.rend(), target);
    if (last != table_.rend()) {
      table_.erase(std::next(last).base());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> IsMountPoint(const std::string& path) override {
    base::MutexLock lock(mu_);
    return std::find(table_.begin(), table_.end(), path) != table_.end();
  }

  absl::StatusOr<std::vector<std::string>> MountsUnder(const std::string& path) override {
    base::MutexLock lock(mu_);
    std::vector<std::string> found;
    for (auto it = table_.rbegin(); it != table_.rend(); ++it) {
      if (*it == path || it->rfind(path + "/", 0) == 0) {
        found.push_back(*it);
      }
    }
    return found;
  }

  // The next Mount fails with this.
  void FailNextMount(absl::Status error) {
    base::MutexLock lock(mu_);
    next_mount_error_ = std::move(error);
  }
  std::vector<MountRequest> requests() {
    base::MutexLock lock(mu_);
    return requests_;
  }
  std::vector<std::string> table() {
    base::MutexLock lock(mu_);
    return table_;
  }

 private:
  base::Mutex mu_;
  std::vector<MountRequest> requests_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> table_ ABSL_GUARDED_BY(mu_);
  absl::Status next_mount_error_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::mount
