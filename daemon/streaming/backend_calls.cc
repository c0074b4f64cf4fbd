#include "daemon/streaming/backend_calls.h"

#include <thread>

namespace berth::streaming {

void BackendCalls::Add(std::function<void()> job) {
  base::MutexLock lock(mu_);
  if (stopping_) {
    return;
  }
  jobs_.push_back(std::move(job));
  // Each thread works until there is nothing to do, so a job that waits has a busy thread before
  // it.
  if (threads_ < kMaxBackendThreads) {
    ++threads_;
    std::thread([this] { Work(); }).detach();
  }
}

void BackendCalls::Work() {
  mu_.Lock();
  while (!jobs_.empty() && !stopping_) {
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    mu_.Unlock();
    job();
    job = nullptr;
    mu_.Lock();
  }
  --threads_;
  ended_.SignalAll();
  mu_.Unlock();
}

void BackendCalls::Stop() {
  mu_.Lock();
  stopping_ = true;
  while (threads_ > 0) {
    ended_.Wait(mu_);
  }
  jobs_.clear();
  mu_.Unlock();
}

}  // namespace berth::streaming
