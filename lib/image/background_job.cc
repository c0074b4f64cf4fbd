#include "lib/image/background_job.h"

#include <utility>

namespace berth::image {

std::shared_ptr<BackgroundJob::Round> BackgroundJob::Request() {
  base::MutexLock lock(mu_);
  if (is_stopping_) {
    auto refused = std::make_shared<Round>();
    refused->is_done = true;
    refused->result = absl::CancelledError("berthd is stopping");
    return refused;
  }
  if (next_ == nullptr) {
    next_ = std::make_shared<Round>();
  }
  if (!is_running_) {
    if (thread_.joinable()) {
      thread_.join();  // it has left mu_ for good
    }
    is_running_ = true;
    thread_ = std::thread([this] { Run(); });
  }
  return next_;
}

void BackgroundJob::Run() {
  mu_.Lock();
  while (next_ != nullptr && !is_stopping_) {
    const std::shared_ptr<Round> round = std::exchange(next_, nullptr);
    mu_.Unlock();
    absl::Status result = work_();
    mu_.Lock();
    round->result = std::move(result);
    round->is_done = true;
    changed_.SignalAll();
  }
  is_running_ = false;
  changed_.SignalAll();
  mu_.Unlock();
}

absl::Status BackgroundJob::Wait(const base::OpContext& ctx, const std::shared_ptr<Round>& round) {
  base::MutexLock lock(mu_);
  while (!round->is_done) {
    if (absl::Status status = ctx.Check(); !status.ok()) {
      return status;
    }
    changed_.WaitFor(mu_, absl::Milliseconds(ctx.PollMillis()));
  }
  return round->result;
}

void BackgroundJob::WaitIdle() {
  base::MutexLock lock(mu_);
  while (is_running_) {
    changed_.Wait(mu_);
  }
}

void BackgroundJob::Stop() {
  std::thread thread;
  {
    base::MutexLock lock(mu_);
    is_stopping_ = true;
    if (next_ != nullptr) {
      next_->is_done = true;
      next_->result = absl::CancelledError("berthd is stopping");
      next_ = nullptr;
      changed_.SignalAll();
    }
    thread.swap(thread_);
  }
  if (thread.joinable()) {
    thread.join();
  }
}

}  // namespace berth::image
