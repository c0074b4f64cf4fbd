// Processes: starting the runtime, telling one process from another, ending a whole tree.
#pragma once

#include <stdint.h>
#include <sys/types.h>

namespace berth::monitor {

// Field 22 of /proc/PID/stat: with the pid it names a process for good. 0: there is none.
uint64_t ProcessStartTime(pid_t pid);

// Makes this process the last that the kernel kills for lack of memory, where it may; children
// started by Spawn get their former score, or 0 where that was lower, since a container must not
// inherit the monitor's or the daemon's protection.
void LowerOomScore();

// Children started by Spawn get this score (a number as text), where that is allowed.
void SetChildOomScore(const char* score);
// Gives a process that runs this score, where that is allowed.
void SetOomScore(pid_t pid, const char* score);

// Binds a process (0: this one) to one CPU. Not possible (a CPU that is not there or not in its
// cpuset, a process that has ended): no change.
void BindToCpu(pid_t pid, int64_t cpu);

// Blocks every signal of this process (see main.cc) and makes it the one that orphans below it are
// given to.
void BecomeKeeper();

struct ChildFiles {
  int in = -1;
  int out = -1;
  int err = -1;
};

// Starts argv[0] (a path) with these as 0, 1, 2, an empty signal mask and this process's
// environment. Its pid, or -errno. Descriptors of this process that are not close-on-exec are
// inherited.
pid_t Spawn(char* const* argv, const ChildFiles& files);

// Kills every process below this one, and every one of `session` (0: none) even where it is no
// longer below: all are stopped first, so that none forks while the others are looked for. Returns
// when none of them runs any more, or after a second (uninterruptible sleep). Reaps nothing.
void KillDescendants(pid_t session);

// Waits until this process has no children left, reaping them, for at most `millis`. False: some
// are left.
bool ReapAll(int millis);

}  // namespace berth::monitor
