// ThreadGroup: threads that come and go, all of which have ended when the group is destroyed.
// Threads: thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <thread>
#include <utility>

#include "lib/base/mutex.h"

namespace berth::image {

class ThreadGroup {
 public:
  ThreadGroup() = default;
  ~ThreadGroup() { JoinAll(); }
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;

  // Runs `work` on a new thread. Threads that have ended before are joined here.
  void Run(std::function<void()> work) {
    std::list<Member> ended;
    {
      base::MutexLock lock(mu_);
      for (auto it = members_.begin(); it != members_.end();) {
        const auto next = std::next(it);
        if (*it->has_ended) {
          ended.splice(ended.end(), members_, it);
        }
        it = next;
      }
      auto flag = std::make_shared<std::atomic<bool>>(false);
      members_.push_back({std::thread([flag, work = std::move(work)] {
                            work();
                            *flag = true;
                          }),
                          flag});
    }
    for (Member& member : ended) {
      member.thread.join();
    }
  }

  // Waits for all, also for those that are started meanwhile.
  void JoinAll() {
    while (true) {
      std::list<Member> members;
      {
        base::MutexLock lock(mu_);
        members.swap(members_);
      }
      if (members.empty()) {
        return;
      }
      for (Member& member : members) {
        member.thread.join();
      }
    }
  }

 private:
  struct Member {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> has_ended;
  };
  base::Mutex mu_;
  std::list<Member> members_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::image
