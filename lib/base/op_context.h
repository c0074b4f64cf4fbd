// OpContext: how long an operation may take and whether its caller has gone away. Passed by const
// reference down from the RPC (or made by Background()/WithTimeout()); everything that waits takes
// one and waits no longer.
//
// gRPC's synchronous server tells of a cancelled call only when asked, so waits look every
// kPollInterval. Threads: immutable; may be shared.
#pragma once

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace berth::base {

class OpContext {
 public:
  static constexpr absl::Duration kPollInterval = absl::Milliseconds(100);

  explicit OpContext(absl::Time deadline, std::function<bool()> cancelled = {})
      : deadline_(deadline), cancelled_(std::move(cancelled)) {}
  // Never ends.
  static OpContext Background() { return OpContext(absl::InfiniteFuture()); }
  static OpContext WithTimeout(absl::Duration timeout) { return OpContext(absl::Now() + timeout); }
  // The same operation with a nearer deadline.
  OpContext Within(absl::Duration timeout) const {
    return OpContext(std::min(deadline_, absl::Now() + timeout), cancelled_);
  }

  absl::Time deadline() const { return deadline_; }
  absl::Duration Remaining() const { return deadline_ - absl::Now(); }
  // OK, kDeadlineExceeded or kCancelled.
  absl::Status Check() const {
    if (cancelled_ && cancelled_()) {
      return absl::CancelledError("the caller went away");
    }
    if (absl::Now() >= deadline_) {
      return absl::DeadlineExceededError("the request's deadline passed");
    }
    return absl::OkStatus();
  }
  // How long to sleep before Check() is worth calling again, in ms for poll(2): at most
  // kPollInterval, at least 0.
  int PollMillis() const {
    const absl::Duration wait = std::min(Remaining(), kPollInterval);
    return wait <= absl::ZeroDuration() ? 0 : static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1;
  }

 private:
  absl::Time deadline_;
  std::function<bool()> cancelled_;
};

}  // namespace berth::base
