// BackendCalls: makes the Backend's blocking calls on threads of their own, at most
// kMaxBackendThreads, which end when there is nothing to do, and brings the answers back to the
// event thread.
//
// Threads: Run and the answers: the event thread. Stop: any other, once.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "boost/asio/io_context.hpp"
#include "boost/asio/post.hpp"

#include "daemon/streaming/limits.h"
#include "lib/base/mutex.h"
#include "lib/base/op_context.h"

namespace berth::streaming {

class BackendCalls {
 public:
  // Set to true by whoever no longer wants the answer: the call is cancelled.
  using Cancelled = std::shared_ptr<std::atomic<bool>>;

  explicit BackendCalls(boost::asio::io_context& io) : io_(io) {}
  ~BackendCalls() { Stop(); }

  // `done` is called on the event thread, unless the server stops before.
  template <typename T>
  Cancelled Run(std::function<absl::StatusOr<T>(const base::OpContext&)> call,
                std::function<void(absl::StatusOr<T>)> done) {
    auto cancelled = std::make_shared<std::atomic<bool>>(false);
    Add([this, cancelled, call = std::move(call), done = std::move(done)] {
      const base::OpContext ctx(absl::Now() + absl::FromChrono(kBackendTimeout),
                                [this, cancelled] { return stopping_ || *cancelled; });
      absl::Status status = ctx.Check();
      auto answer = std::make_shared<absl::StatusOr<T>>(
          status.ok() ? call(ctx) : absl::StatusOr<T>(std::move(status)));
      boost::asio::post(io_, [answer, done] { done(std::move(*answer)); });
    });
    return cancelled;
  }

  // Cancels what runs and waits for it; what has not begun never does.
  void Stop();

 private:
  void Add(std::function<void()> job);
  void Work();

  boost::asio::io_context& io_;
  std::atomic<bool> stopping_ = false;
  base::Mutex mu_;
  base::CondVar ended_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mu_);
  size_t threads_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace berth::streaming
