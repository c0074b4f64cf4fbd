// OomWatch: whether the kernel has killed a process of the container for lack of memory.
//
// cgroup v2: `oom_kill` of memory.events, which the kernel makes readable with priority at each
// change. v1: `oom_kill` of memory.oom_control, with an event descriptor registered in
// cgroup.event_control, which tells of the shortage, a moment before the kill, so that it is looked
// at again for two seconds. Both are read once more at the end.
//
// The cgroup may be gone by then: systemd removes an empty scope, perhaps before this process runs
// again. Its open files then answer ENODEV. v2 counts in all cgroups above as well: when the first
// process was killed, its cgroup is gone and the parent has counted one more since both were seen
// last, that was it. (A kill in a sibling within that moment would be taken for it, too.) v1: it
// counts that the shortage was seen.
//
// Source: Documentation/admin-guide/cgroup-v2.rst "memory.events"; cgroup-v1/memory.rst section 10
// "OOM Control".
#pragma once

#include <poll.h>
#include <stdint.h>
#include <sys/types.h>

namespace berth::monitor {

class OomWatch {
 public:
  // Finds the cgroup of the process. Without one, or without its files, nothing is ever reported.
  void Open(pid_t pid);

  pollfd Poll() const { return {poll_fd_, poll_events_, 0}; }
  // OnEvent is to be called for this one, too.
  pollfd PollParent() const { return {gone_ ? -1 : parent_fd_, POLLPRI, 0}; }
  // Longest wait for that, for poll(2). While it is not -1, OnEvent is to be called in each turn.
  int poll_millis() const { return look_until_ > 0 ? kLookMillis : -1; }
  // True when this is the first that was seen of a kill.
  bool OnEvent();
  // The last look, when the first process has ended by this signal (0: none).
  bool AtEnd(int signal);

  bool killed() const { return killed_; }

 private:
  static constexpr int kFileBytes = 1024;
  static constexpr int kLookMillis = 20;
  static constexpr int64_t kLookNanos = 2000000000;

  bool OpenV1(const char* path);
  bool OpenV2(const char* path);
  void Read();
  int64_t ReadParent() const;

  int parent_fd_ = -1;  // v2: memory.events of the cgroup above
  int64_t parent_count_ = 0;
  int count_fd_ = -1;  // memory.events or memory.oom_control
  int poll_fd_ = -1;   // the same (v2), or the event descriptor (v1)
  short poll_events_ = 0;
  int64_t look_until_ = 0;  // MonotonicNanos()
  bool killed_ = false;
  bool was_short_ = false;  // v1: saw `under_oom`
  bool gone_ = false;       // the cgroup is
};

}  // namespace berth::monitor
