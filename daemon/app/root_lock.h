// RootLock: one berthd per root and per socket.
// Threads: a value with one owner; the lock lasts as long as it. Source: man 2 flock.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace berth::app {

class RootLock {
 public:
  // kFailedPrecondition: another process holds the lock at `path`; the message has its pid.
  static absl::StatusOr<RootLock> Take(const std::string& path);

 private:
  explicit RootLock(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

// kFailedPrecondition: something answers on the unix socket already. A socket that nobody listens on is a leftover: OK.
absl::Status CheckSocketFree(const std::string& path);

}  // namespace berth::app
