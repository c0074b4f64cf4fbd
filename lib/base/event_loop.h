// EventLoop: one thread with epoll, for monitor sockets, inotify and timers. Callbacks run on that
// thread and must not block: they take leaf locks only.
//
// Threads: Watch, Unwatch, After, Cancel and Post may be called from any thread, also from
// callbacks. When Unwatch or Cancel returns on another thread, the callback is not running and will
// not run again. Ownership: the loop borrows descriptors; close one only after Unwatch.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "lib/base/mutex.h"
#include "lib/base/unique_fd.h"

namespace berth::base {

class EventLoop {
 public:
  using TimerId = uint64_t;

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Starts the thread. Stop() ends it; callbacks not yet run are dropped. Both idempotent.
  void Start();
  void Stop();

  // Calls back(epoll events) whenever fd has one of `events` (EPOLLIN, ...; level-triggered;
  // EPOLLHUP and EPOLLERR always).
  absl::Status Watch(int fd, uint32_t events, std::function<void(uint32_t)> back);
  void Unwatch(int fd);

  // Calls back once after `delay`. Cancel of a timer that has run is a no-op.
  TimerId After(absl::Duration delay, std::function<void()> back);
  void Cancel(TimerId id);

  // Runs `work` on the loop's thread, soon.
  void Post(std::function<void()> work);

 private:
  struct Watcher {
    int fd;
    std::function<void(uint32_t)> back;
  };
  void Run();
  void Wake();
  int RunDueTimersAndPosts();
  // Waits until no callback of another thread's concern is running.
  void WaitIdleLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  UniqueFd epoll_fd_;
  UniqueFd wake_fd_;
  std::thread thread_;

  Mutex mu_;
  CondVar idle_;
  bool running_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool in_callback_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, std::shared_ptr<Watcher>> watchers_ ABSL_GUARDED_BY(mu_);
  std::map<int, uint64_t> watcher_of_fd_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<absl::Time, TimerId>, std::function<void()>> timers_ ABSL_GUARDED_BY(mu_);
  std::vector<std::function<void()>> posts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::base
