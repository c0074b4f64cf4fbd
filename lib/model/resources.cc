#include "lib/model/resources.h"

#include <algorithm>
#include <type_traits>

namespace berth::model {

Resources MergeResources(const Resources& current, const Resources& wanted) {
  Resources merged = current;
  const auto take = [](auto& to, const auto& from) {
    if (from != std::decay_t<decltype(from)>()) {
      to = from;
    }
  };
  take(merged.cpu_period, wanted.cpu_period);
  take(merged.cpu_quota, wanted.cpu_quota);
  take(merged.cpu_shares, wanted.cpu_shares);
  take(merged.memory_limit_bytes, wanted.memory_limit_bytes);
  take(merged.memory_swap_limit_bytes, wanted.memory_swap_limit_bytes);
  if (wanted.memory_swap_limit_bytes == 0 && current.memory_swap_limit_bytes > 0 &&
      current.memory_swap_limit_bytes == current.memory_limit_bytes) {
    merged.memory_swap_limit_bytes = merged.memory_limit_bytes;
  }
  take(merged.oom_score_adj, wanted.oom_score_adj);
  take(merged.cpuset_cpus, wanted.cpuset_cpus);
  take(merged.cpuset_mems, wanted.cpuset_mems);
  for (const HugepageLimit& limit : wanted.hugepage_limits) {
    const auto same = std::find_if(
        merged.hugepage_limits.begin(), merged.hugepage_limits.end(),
        [&](const HugepageLimit& other) { return other.page_size == limit.page_size; });
    if (same == merged.hugepage_limits.end()) {
      merged.hugepage_limits.push_back(limit);
    } else {
      same->limit = limit.limit;
    }
  }
  for (const auto& [file, value] : wanted.unified) {
    merged.unified[file] = value;
  }
  return merged;
}

}  // namespace berth::model
