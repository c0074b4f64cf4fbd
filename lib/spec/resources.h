// Resource limits in the OCI runtime's words, for a new container and for `<runtime> update`.
// Threads: pure. Source: OCI runtime-spec config-linux.md "Control groups"; CRI v1
// LinuxContainerResources.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/security.h"
#include "lib/spec/node_facts.h"

namespace berth::spec {

struct ResourceLimits {
  int64_t min_memory_bytes = 0;  // smaller limits are refused; 0: none is
  int64_t pids_limit = 0;        // 0: none
};

struct ResourcesOutput {
  std::string json;       // an OCI `linux.resources` object, without `devices`
  int oom_score_adj = 0;  // clamped to what the node allows
  std::vector<std::string> warnings;
};

// Swap: the request's limit (memory and swap together) where the kernel accounts for swap, else,
// with a memory limit, no swap. kInvalidArgument: a swap limit below the memory limit, a memory
// limit below the minimum, an oom_score_adj outside -1000..1000, cgroup v2 files on v1 or with a
// '/' in the name, a page size that is none, a hugepage limit without a hugetlb controller.
absl::StatusOr<ResourcesOutput> BuildResources(const model::Resources& resources,
                                               const NodeFacts& node, const ResourceLimits& limits);

}  // namespace berth::spec
