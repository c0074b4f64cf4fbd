#include "daemon/streaming/token_table.h"

#include <sys/random.h>

#include <utility>

#include "fmt/format.h"
#include "openssl/crypto.h"

#include "daemon/streaming/limits.h"
#include "lib/base/status.h"

namespace berth::streaming {

namespace {

constexpr size_t kTokenBytes = 16;

std::string RandomToken() {
  unsigned char bytes[kTokenBytes];
  BERTH_CHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
  std::string token;
  for (const unsigned char byte : bytes) {
    token += fmt::format("{:02x}", byte);
  }
  return token;
}

}  // namespace

absl::StatusOr<std::string> TokenTable::Add(StreamRequest request) {
  std::string token = RandomToken();
  base::MutexLock lock(mu_);
  DropOldLocked();
  if (entries_.size() >= kMaxTokens) {
    return absl::ResourceExhaustedError(fmt::format(
        "make a streaming URL: {} are given out and not used yet; each is good for {} s",
        kMaxTokens, kTokenLifetime.count()));
  }
  entries_.push_back({token, now_() + kTokenLifetime, std::move(request)});
  return token;
}

std::optional<StreamRequest> TokenTable::Take(std::string_view token) {
  base::MutexLock lock(mu_);
  DropOldLocked();
  if (token.size() != 2 * kTokenBytes) {
    token = "................................";
  }
  auto found = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (CRYPTO_memcmp(entry->token.data(), token.data(), 2 * kTokenBytes) == 0) {
      found = entry;
    }
  }
  if (found == entries_.end()) {
    return std::nullopt;
  }
  StreamRequest request = std::move(found->request);
  entries_.erase(found);
  return request;
}

void TokenTable::DropOldLocked() {
  const Clock::time_point now = now_();
  while (!entries_.empty() && entries_.front().expires <= now) {
    entries_.pop_front();
  }
}

}  // namespace berth::streaming
