// RootLock: one berthd per root, per state directory and per socket.
// Threads: a value with one owner; the lock lasts as long as it, and not longer than the process.
// Source: man 2 flock.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "lib/base/unique_fd.h"

namespace berth::app {

class RootLock {
 public:
  // kFailedPrecondition: another process holds the lock at `path`; the message has its pid. One
  // that was killed is no longer there, but what it was just starting may hold its locks for a
  // moment: that is waited for. The same for the directory `state`, which two roots must not share
  // either; its lock leaves no file there.
  static absl::StatusOr<RootLock> Take(const std::string& path, const std::string& state);

 private:
  RootLock(base::UniqueFd root, base::UniqueFd state)
      : root_(std::move(root)), state_(std::move(state)) {}
  base::UniqueFd root_;
  base::UniqueFd state_;
};

// kFailedPrecondition: something answers on the unix socket already, or the path is no socket. A
// socket that nobody listens on is a leftover: OK.
absl::Status CheckSocketFree(const std::string& path);

}  // namespace berth::app
