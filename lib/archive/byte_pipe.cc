#include "lib/archive/byte_pipe.h"

#include <algorithm>
#include <cstring>

#include "lib/base/status.h"

namespace berth::archive {

namespace {

// The consumer looks for a failure between two pieces: small ones make it notice soon.
constexpr size_t kMaxPiece = 64 << 10;

}  // namespace

absl::Status BytePipe::Write(std::string_view bytes) {
  base::MutexLock lock(mu_);
  BERTH_CHECK(!closed_);
  if (ring_ == nullptr) {
    ring_ = std::make_unique<char[]>(capacity_);
  }
  while (!bytes.empty()) {
    while (failure_.ok() && size_ == capacity_) {
      changed_.Wait(mu_);
    }
    if (!failure_.ok()) {
      return failure_;
    }
    const size_t tail = (head_ + size_) % capacity_;
    const size_t count = std::min({bytes.size(), capacity_ - size_, capacity_ - tail});
    std::memcpy(ring_.get() + tail, bytes.data(), count);
    bytes.remove_prefix(count);
    size_ += count;
    changed_.Signal();
  }
  return failure_;
}

void BytePipe::CloseWrite() {
  base::MutexLock lock(mu_);
  closed_ = true;
  changed_.SignalAll();
}

void BytePipe::Fail(const absl::Status& why) {
  base::MutexLock lock(mu_);
  if (failure_.ok()) {
    failure_ = why;
  }
  changed_.SignalAll();
}

absl::StatusOr<std::string_view> BytePipe::Next() {
  base::MutexLock lock(mu_);
  head_ = (head_ + lent_) % capacity_;
  size_ -= lent_;
  if (lent_ > 0) {
    changed_.Signal();
  }
  lent_ = 0;
  while (failure_.ok() && size_ == 0 && !closed_) {
    changed_.Wait(mu_);
  }
  if (!failure_.ok()) {
    return failure_;
  }
  lent_ = std::min({size_, capacity_ - head_, kMaxPiece});
  return std::string_view(ring_.get() + head_, lent_);
}

}  // namespace berth::archive
