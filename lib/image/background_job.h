// BackgroundJob: one piece of work that is asked for more often than it needs to run. A thread runs
// it, as long as somebody asked after the last round had begun, and ends when nobody did.
//
// Threads: thread-safe; Stop() waits for the running round and begins no other.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"

namespace berth::image {

class BackgroundJob {
 public:
  // One run of the work.
  class Round {
    friend class BackgroundJob;
    bool is_done = false;  // guarded by the job's mu_, as `result`
    absl::Status result;
  };

  explicit BackgroundJob(std::function<absl::Status()> work) : work_(std::move(work)) {}
  ~BackgroundJob() { Stop(); }
  BackgroundJob(const BackgroundJob&) = delete;
  BackgroundJob& operator=(const BackgroundJob&) = delete;

  // Asks for a round; returns it. It begins after this call: what the caller did before, it sees.
  std::shared_ptr<Round> Request();
  // Waits for the round's end; what the work returned, kCancelled after Stop(), or the context's.
  absl::Status Wait(const base::OpContext& ctx, const std::shared_ptr<Round>& round);
  // Waits until nothing runs and nothing was asked for.
  void WaitIdle();
  void Stop();

 private:
  void Run();

  const std::function<absl::Status()> work_;
  base::Mutex mu_;
  base::CondVar changed_;
  std::shared_ptr<Round> next_ ABSL_GUARDED_BY(mu_);  // asked for, not begun
  bool is_running_ ABSL_GUARDED_BY(mu_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::image
