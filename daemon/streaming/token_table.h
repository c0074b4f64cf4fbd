// TokenTable: requests that wait behind a URL for their client. A token is 128 random bits in hex;
// it is good for one use within kTokenLifetime, and at most kMaxTokens wait.
//
// Threads: thread-safe.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

#include "daemon/streaming/backend.h"
#include "lib/base/mutex.h"

namespace berth::streaming {

struct PortForwardRequest {
  std::string sandbox_id;
  std::vector<uint16_t> ports;  // for clients over WebSocket, who cannot name them
};

using StreamRequest = std::variant<ExecRequest, AttachRequest, PortForwardRequest>;

class TokenTable {
 public:
  using Clock = std::chrono::steady_clock;

  explicit TokenTable(std::function<Clock::time_point()> now = Clock::now) : now_(std::move(now)) {}

  // kResourceExhausted: too many unused tokens.
  absl::StatusOr<std::string> Add(StreamRequest request);
  // The request, once. Unknown, used and old tokens and those of any other form are alike, and take
  // equally long: every token is compared, in constant time.
  std::optional<StreamRequest> Take(std::string_view token);

 private:
  struct Entry {
    std::string token;
    Clock::time_point expires;
    StreamRequest request;
  };
  void DropOldLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::function<Clock::time_point()> now_;
  base::Mutex mu_;
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mu_);  // the oldest first
};

}  // namespace berth::streaming
