// What a cgroup uses: its control files, read once and parsed in place.
//
// A value is absent when the node does not tell it: the controller is not mounted or not enabled,
// the kernel is too old, the cgroup is gone, or the file holds something else than the kernel
// writes. That is never an error. v1 counts are those of the cgroup and all below it, as v2's are.
//
// Threads: free functions without state. A few system calls for each file, no walk; no memory but
// the stack's and the paths'. Source: kernel Documentation/admin-guide/cgroup-v2.rst,
// cgroup-v1/memory.rst, cgroup-v1/cpuacct.rst, cgroup-v1/pids.rst, accounting/psi.rst.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

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
  std::optional<uint64_t> swap_limit_bytes;  // absent: none

  std::optional<Pressure> cpu_pressure, memory_pressure, io_pressure;

  // Memory that cannot be dropped at once: usage without the inactive page cache, never below 0.
  // The two are read one after the other, so the cache may seem larger than the whole.
  std::optional<uint64_t> WorkingSetBytes() const;
  // What is left to the limits, never below 0; absent without a limit.
  std::optional<uint64_t> AvailableBytes() const;
  std::optional<uint64_t> SwapAvailableBytes() const;
};

Usage ReadUsage(const Hierarchy& hierarchy, const std::string& cgroup);

// Tasks in the cgroup and below it: threads count, as they do against pids.max.
std::optional<uint64_t> ReadTasks(const Hierarchy& hierarchy, const std::string& cgroup);

// The text of a pressure file. Absent: a "some" line is missing or not as the kernel writes it.
std::optional<Pressure> ParsePressure(std::string_view text);

}  // namespace berth::cgroup
