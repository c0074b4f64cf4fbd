#include "lib/base/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::base {

namespace {
constexpr uint64_t kWakeId = 0;
}

EventLoop::EventLoop()
    : epoll_fd_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  BERTH_CHECK(epoll_fd_.valid() && wake_fd_.valid());
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = kWakeId;
  BERTH_CHECK(::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, wake_fd_.get(), &event) == 0);
}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Start() {
  MutexLock lock(mu_);
  if (running_) {
    return;
  }
  running_ = true;
  stopping_ = false;
  thread_ = std::thread([this] { Run(); });
}

void EventLoop::Stop() {
  {
    MutexLock lock(mu_);
    if (!running_) {
      return;
    }
    stopping_ = true;
  }
  Wake();
  thread_.join();
  MutexLock lock(mu_);
  running_ = false;
}

void EventLoop::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(wake_fd_.get(), &one, sizeof(one));
}

absl::Status EventLoop::Watch(int fd, uint32_t events, std::function<void(uint32_t)> back) {
  MutexLock lock(mu_);
  if (watcher_of_fd_.contains(fd)) {
    return absl::AlreadyExistsError(fmt::format("descriptor {} is watched already", fd));
  }
  const uint64_t id = next_id_++;
  epoll_event event = {};
  event.events = events;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoStatus(errno, fmt::format("watch descriptor {}", fd));
  }
  watcher_of_fd_[fd] = id;
  watchers_[id] = std::make_shared<Watcher>(Watcher{fd, std::move(back)});
  return absl::OkStatus();
}

void EventLoop::WaitIdleLocked() {
  if (std::this_thread::get_id() == thread_.get_id()) {
    return;
  }
  while (in_callback_) {
    idle_.Wait(mu_);
  }
}

void EventLoop::Unwatch(int fd) {
  MutexLock lock(mu_);
  auto it = watcher_of_fd_.find(fd);
  if (it == watcher_of_fd_.end()) {
    return;
  }
  ::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, fd, nullptr);
  watchers_.erase(it->second);
  watcher_of_fd_.erase(it);
  WaitIdleLocked();
}

EventLoop::TimerId EventLoop::After(absl::Duration delay, std::function<void()> back) {
  TimerId id;
  {
    MutexLock lock(mu_);
    id = next_id_++;
    timers_[{absl::Now() + delay, id}] = std::move(back);
  }
  Wake();
  return id;
}

void EventLoop::Cancel(TimerId id) {
  MutexLock lock(mu_);
  for (auto it = timers_.begin(); it != timers_.end(); ++it) {
    if (it->first.second == id) {
      timers_.erase(it);
      break;
    }
  }
  WaitIdleLocked();
}

void EventLoop::Post(std::function<void()> work) {
  {
    MutexLock lock(mu_);
    posts_.push_back(std::move(work));
  }
  Wake();
}

// Returns how long epoll may sleep, in ms; -1: for ever.
int EventLoop::RunDueTimersAndPosts() {
  mu_.Lock();
  while (!stopping_) {
    std::function<void()> work;
    const absl::Time now = absl::Now();
    if (!posts_.empty()) {
      work = std::move(posts_.front());
      posts_.erase(posts_.begin());
    } else if (!timers_.empty() && timers_.begin()->first.first <= now) {
      work = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
    } else {
      break;
    }
    in_callback_ = true;
    mu_.Unlock();
    work();
    work = nullptr;
    mu_.Lock();
    in_callback_ = false;
    idle_.SignalAll();
  }
  int millis = -1;
  if (!timers_.empty()) {
    const absl::Duration wait = timers_.begin()->first.first - absl::Now();
    millis = static_cast<int>(
                 std::max<int64_t>(0, absl::ToInt64Milliseconds(std::min(wait, absl::Hours(1))))) +
             1;
  }
  mu_.Unlock();
  return millis;
}

void EventLoop::Run() {
  while (true) {
    const int millis = RunDueTimersAndPosts();
    {
      MutexLock lock(mu_);
      if (stopping_) {
        return;
      }
    }
    epoll_event events[64];
    const int n = ::epoll_wait(epoll_fd_.get(), events, 64, millis);
    for (int i = 0; i < n; ++i) {
      if (events[i].data.u64 == kWakeId) {
        uint64_t count;
        [[maybe_unused]] const ssize_t got = ::read(wake_fd_.get(), &count, sizeof(count));
        continue;
      }
      std::shared_ptr<Watcher> watcher;
      {
        MutexLock lock(mu_);
        auto it = watchers_.find(events[i].data.u64);
        if (it == watchers_.end() || stopping_) {
          continue;
        }
        watcher = it->second;
        in_callback_ = true;
      }
      watcher->back(events[i].events);
      MutexLock lock(mu_);
      in_callback_ = false;
      idle_.SignalAll();
    }
  }
}

}  // namespace berth::base
