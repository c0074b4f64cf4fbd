#include "lib/registry/range_window.h"

#include <algorithm>
#include <utility>

#include "lib/base/status.h"

namespace berth::registry {

struct RangeWindow::Stretch {
  int64_t begin;
  int64_t end;
  std::unique_ptr<char[]> bytes;  // never moves, so that what is filled can be read without a lock
  size_t filled = 0;              // under mu_, as the rest
  bool has_ended = false;
  absl::Status status;
};

int64_t RangeWindow::BeginOf(const Stretch& stretch) { return stretch.begin; }
int64_t RangeWindow::EndOf(const Stretch& stretch) { return stretch.end; }

std::shared_ptr<RangeWindow::Stretch> RangeWindow::Claim(const base::OpContext& ctx) {
  base::MutexLock lock(mu_);
  while (!is_closed_ && next_ < size_ && open_.size() >= max_open_) {
    if (!ctx.Check().ok()) {
      return nullptr;
    }
    changed_.WaitFor(mu_, absl::Milliseconds(ctx.PollMillis()));
  }
  if (is_closed_ || next_ >= size_) {
    return nullptr;
  }
  auto stretch = std::make_shared<Stretch>();
  stretch->begin = next_;
  stretch->end = next_ = std::min(size_, next_ + stretch_bytes_);
  stretch->bytes.reset(new char[static_cast<size_t>(stretch->end - stretch->begin)]);
  open_.push_back(stretch);
  changed_.SignalAll();
  return stretch;
}

void RangeWindow::Append(Stretch& stretch, std::span<const char> bytes) {
  // Only this thread changes `filled`.
  BERTH_CHECK(stretch.filled + bytes.size() <= static_cast<size_t>(stretch.end - stretch.begin));
  std::copy(bytes.begin(), bytes.end(), stretch.bytes.get() + stretch.filled);
  base::MutexLock lock(mu_);
  stretch.filled += bytes.size();
  if (open_.front().get() == &stretch) {  // nobody waits for the others yet
    changed_.SignalAll();
  }
}

void RangeWindow::End(Stretch& stretch, absl::Status status) {
  base::MutexLock lock(mu_);
  stretch.has_ended = true;
  stretch.status = std::move(status);
  changed_.SignalAll();
}

void RangeWindow::Close() {
  base::MutexLock lock(mu_);
  is_closed_ = true;
  changed_.SignalAll();
}

absl::Status RangeWindow::Drain(const base::OpContext& ctx, const RegistryClient::BlobSink& sink) {
  size_t taken = 0;  // of the first open stretch
  while (true) {
    std::shared_ptr<Stretch> first;
    size_t filled = 0;
    {
      base::MutexLock lock(mu_);
      while (open_.empty() || (open_.front()->filled == taken && !open_.front()->has_ended)) {
        if (open_.empty() && next_ >= size_) {
          return absl::OkStatus();
        }
        RETURN_IF_ERROR(ctx.Check());
        changed_.WaitFor(mu_, absl::Milliseconds(ctx.PollMillis()));
      }
      first = open_.front();
      filled = first->filled;
      if (filled == taken) {  // it has ended
        RETURN_IF_ERROR(first->status);
        open_.pop_front();
        taken = 0;
        changed_.SignalAll();
        continue;
      }
    }
    RETURN_IF_ERROR(sink({first->bytes.get() + taken, filled - taken}));
    taken = filled;
  }
}

}  // namespace berth::registry
