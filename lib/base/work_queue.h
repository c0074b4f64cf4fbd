// WorkQueue: one thread that runs small jobs in order, for what the event loop may not do itself
// (it may not block). The thread is started by the first job and ends with the queue. Threads: Add
// is thread-safe and never blocks.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "lib/base/mutex.h"

namespace berth::base {

class WorkQueue {
 public:
  WorkQueue() = default;
  // Runs what was added, then ends.
  ~WorkQueue() { Stop(); }
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  void Add(std::function<void()> job) {
    MutexLock lock(mu_);
    if (stopping_) {
      return;
    }
    jobs_.push_back(std::move(job));
    if (!thread_.joinable()) {
      thread_ = std::thread([this] { Run(); });
    }
    changed_.Signal();
  }
  void Stop() {
    {
      MutexLock lock(mu_);
      stopping_ = true;
      changed_.Signal();
    }
    if (thread_.joinable()) {
      thread_.join();
    }
  }

 private:
  void Run() {
    mu_.Lock();
    while (true) {
      while (jobs_.empty() && !stopping_) {
        changed_.Wait(mu_);
      }
      if (jobs_.empty()) {
        break;
      }
      std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      mu_.Unlock();
      job();
      job = nullptr;
      mu_.Lock();
    }
    mu_.Unlock();
  }

  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace berth::base
