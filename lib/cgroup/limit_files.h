// Limits of one cgroup, as the kernel's files have them: to read what a change is about to touch,
// to put it back, and to write what no OCI runtime writes. And the oom_score_adj of its processes.
//
// v1 and v2 alike; a file is named "controller/file", since v1 keeps each controller's files in a
// directory of its own: "memory/memory.limit_in_bytes", "cpu/cpu.max". A cgroup "container" inside,
// where crun puts a container in a scope of systemd, counts too: "cpu/container/cpu.max".
//
// Threads: no state. They block on the kernel; shrinking memory reclaims. Errors: kNotFound: the
// cgroup or file is not there; kInvalidArgument: the kernel does not take the value.
// Source: kernel Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{memory,hugetlb}.rst; proc(5).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "lib/cgroup/hierarchy.h"

namespace berth::cgroup {

// What a change concerns.
struct LimitKinds {
  bool cpu = false, memory = false, cpuset = false;
  std::vector<std::string> page_sizes;  // "2MB"
  std::vector<std::string> files;       // of v2, by name: "memory.high"
};

// Values by "controller/file".
using LimitValues = std::map<std::string, std::string>;

// The files of these kinds as they are. What does not exist or cannot be read is left out.
LimitValues ReadLimits(const Hierarchy& hierarchy, const std::string& cgroup,
                       const LimitKinds& kinds);
// Writes back what is no longer so. All are tried; the first error is returned. An absent cgroup
// has nothing to restore: OK.
absl::Status RestoreLimits(const Hierarchy& hierarchy, const std::string& cgroup,
                           const LimitValues& values);

// Both limits of a page size: pages used, and pages reserved where the kernel counts those.
absl::Status SetHugepageLimit(const Hierarchy& hierarchy, const std::string& cgroup,
                              const std::string& page_size, uint64_t bytes);
// No CPU bandwidth limit; the period stays.
absl::Status LiftCpuQuota(const Hierarchy& hierarchy, const std::string& cgroup);

// Before a memory limit of `bytes` is set: kFailedPrecondition when the processes need more than
// that, apart from caches. v2 would kill some of them; there, caches are given back first, so that
// the new limit is not met with a full cgroup.
absl::Status CheckMemoryFits(const Hierarchy& hierarchy, const std::string& cgroup, int64_t bytes);

// Gives the value `to` to each process of the cgroup and below whose value is `from`, also to those
// that are started meanwhile. Processes that chose another value keep it.
absl::Status ChangeOomScore(const Hierarchy& hierarchy, const std::string& cgroup, int from, int to,
                            const std::string& proc_root = "/proc");

}  // namespace berth::cgroup
