// Interrupt: SIGINT, SIGTERM and SIGHUP as something to look at, for a command that must clean up
// before it ends.
//
// Construct it before anything starts threads: they must inherit the blocked signals. One at a
// time. Threads: all methods are thread-safe.
#pragma once

#include <atomic>
#include <thread>

#include "grpcpp/client_context.h"

#include "lib/base/mutex.h"
#include "lib/base/unique_fd.h"

namespace berth::berthctl {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // The first signal that came, or 0.
  int signal() const { return signal_; }
  // Readable from the first signal on; for poll(2).
  int fd() const { return raised_fd_.get(); }

  // A call in progress is cancelled by a signal. Null: none is.
  void SetCall(grpc::ClientContext* context);

 private:
  void Run();

  base::UniqueFd signal_fd_;
  base::UniqueFd raised_fd_;
  base::UniqueFd stop_fd_;
  std::atomic<int> signal_ = 0;
  base::Mutex mu_;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::thread thread_;
};

}  // namespace berth::berthctl
