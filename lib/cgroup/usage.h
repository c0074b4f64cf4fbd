// UsageReader: what a cgroup uses: its control files, read once and parsed in place.
//
// A value is absent when the node does not tell it: the controller is not mounted or not enabled,
// the kernel is too old, the cgroup is gone, or the file holds something else than the kernel
// writes. That is never an error. v1 counts are those of the cgroup and all below it, as v2's are.
//
// Cost: three system calls for each file, no walk. Most of that is the way to the file, so the
// reader keeps the tops of the trees open (three descriptors) and begins there. Threads: immutable,
// thread-safe. Source: kernel Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst,
// cgroup-v1/cpuacct.rst, cgroup-v1/pids.rst, accounting/psi.rst.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/unique_fd.h"
#include "lib/cgroup/hierarchy.h"

namespace berth::cgroup {

// A *.pressure file; v2 only. Averages are percent of the last 10, 60, 300 seconds.
struct Pressure {
  struct Line {
    uint64_t total_us = 0;
    double avg10 = 0, avg60 = 0, avg300 = 0;
  };
  Line some;  // at least one task waited
  Line full;  // all did; zero where the kernel has no such line (cpu, before 5.13)
};

struct Usage {
  std::optional<uint64_t> cpu_ns;  // since the cgroup was made, over all CPUs

  std::optional<uint64_t> memory_bytes;  // with the page cache
  std::optional<uint64_t> inactive_file_bytes;
  std::optional<uint64_t> rss_bytes;
  std::optional<uint64_t> page_faults, major_page_faults;
  std::optional<uint64_t> memory_limit_bytes;  // the cgroup's own; absent: none

  std::optional<uint64_t> swap_bytes;
  // Absent: none. v1 has one limit for memory and swap together: what it leaves beyond memory's.
  std::optional<uint64_t> swap_limit_bytes;

  std::optional<Pressure> cpu_pressure, memory_pressure, io_pressure;

  // Memory that cannot be dropped at once: usage without the inactive page cache, never below 0.
  // The two are read one after the other, so the cache may seem larger than the whole.
  std::optional<uint64_t> WorkingSetBytes() const;
  // What is left to the limits, never below 0; absent without a limit.
  std::optional<uint64_t> AvailableBytes() const;
  std::optional<uint64_t> SwapAvailableBytes() const;
};

class UsageReader {
 public:
  explicit UsageReader(const Hierarchy& hierarchy);

  Usage Read(const std::string& cgroup) const;
  // Tasks in the cgroup and below it: threads count, as they do against pids.max.
  std::optional<uint64_t> Tasks(const std::string& cgroup) const;

 private:
  Usage ReadV1(const std::string& cgroup) const;
  Usage ReadV2(const std::string& cgroup) const;

  const Version version_;
  // The tops of the controllers' trees, of the one tree of v2; invalid: not mounted.
  const base::UniqueFd cpu_, memory_, pids_;
};

// The text of a pressure file. Absent: a "some" line is missing or not as the kernel writes it.
std::optional<Pressure> ParsePressure(std::string_view text);

}  // namespace berth::cgroup
