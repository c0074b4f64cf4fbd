// Samples: durations by operation, and what a run of berth-bench prints of them.
// Threads: Add is thread-safe; ToJson when all have been added.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include <nlohmann/json.hpp>

#include "lib/base/mutex.h"

namespace berth::bench {

class Samples {
 public:
  void Add(const std::string& operation, absl::Duration duration);

  // operation -> count, p50_ms, p90_ms, p99_ms, min_ms, max_ms, mean_ms; with `raw` also samples_ms
  // in the order they came in.
  nlohmann::ordered_json ToJson(bool raw);

  // The smallest sample that at least `percent` of all samples do not exceed (nearest rank).
  // `sorted` is not empty.
  static absl::Duration Percentile(const std::vector<absl::Duration>& sorted, double percent);

 private:
  base::Mutex mu_;
  std::vector<std::string> order_ ABSL_GUARDED_BY(mu_);  // operations as they first came
  std::map<std::string, std::vector<absl::Duration>> durations_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::bench
