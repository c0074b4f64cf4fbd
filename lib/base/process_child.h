// The child's side of ProcessRunner: from clone to execve. Internal to lib/base.
//
// After the clone only async-signal-safe calls are allowed: other threads' locks are as they were.
// Threads: any.
#pragma once

#include <linux/sched.h>
#include <sys/resource.h>

#include <vector>

#include "lib/base/process_runner.h"

namespace berth::base {

// What the child needs, made before clone3: after it, only async-signal-safe calls are allowed.
struct ChildPlan {
  std::vector<char*> argv;
  std::vector<char*> env;
  std::vector<int> fds;  // sources of 0, 1, 2, ...
  const ProcessSpec* spec;
  const rlimit* open_files = nullptr;  // to be restored; null: as they are
  int report_fd;
  // With a user namespace: both ends of the pipe that tells when its maps are written.
  int maps_read_fd = -1, maps_write_fd = -1;
};

// clone3, and the child's life. Returns the pid, or -1 with errno.
long CloneChild(clone_args args, const ChildPlan& plan);

// Whether CloneVfork will do.
bool IsPlain(const ProcessSpec& spec);
// As CloneChild, but without a copy of this process, which costs more the larger it is: until
// execve the child has our memory, and this thread waits.
long CloneVfork(int* pidfd, const ChildPlan& plan);

}  // namespace berth::base
