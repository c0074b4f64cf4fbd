#include "tests/bench/samples.h"

#include <algorithm>
#include <cmath>

namespace berth::bench {
namespace {

// Milliseconds with as many digits as a microsecond needs.
double Millis(absl::Duration duration) {
  return std::round(absl::ToDoubleMicroseconds(duration)) / 1000;
}

}  // namespace

void Samples::Add(const std::string& operation, absl::Duration duration) {
  base::MutexLock lock(mu_);
  std::vector<absl::Duration>& durations = durations_[operation];
  if (durations.empty()) {
    order_.push_back(operation);
  }
  durations.push_back(duration);
}

absl::Duration Samples::Percentile(const std::vector<absl::Duration>& sorted, double percent) {
  const double rank = std::ceil(percent / 100 * static_cast<double>(sorted.size()));
  const size_t index = rank < 1 ? 0 : static_cast<size_t>(rank) - 1;
  return sorted[std::min(index, sorted.size() - 1)];
}

nlohmann::ordered_json Samples::ToJson(bool raw) {
  base::MutexLock lock(mu_);
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const std::string& operation : order_) {
    std::vector<absl::Duration> sorted = durations_[operation];
    std::sort(sorted.begin(), sorted.end());
    absl::Duration sum;
    for (const absl::Duration duration : sorted) {
      sum += duration;
    }
    nlohmann::ordered_json& entry = json[operation];
    entry["count"] = sorted.size();
    entry["p50_ms"] = Millis(Percentile(sorted, 50));
    entry["p90_ms"] = Millis(Percentile(sorted, 90));
    entry["p99_ms"] = Millis(Percentile(sorted, 99));
    entry["min_ms"] = Millis(sorted.front());
    entry["max_ms"] = Millis(sorted.back());
    entry["mean_ms"] = Millis(sum / static_cast<double>(sorted.size()));
    if (raw) {
      for (const absl::Duration duration : durations_[operation]) {
        entry["samples_ms"].push_back(Millis(duration));
      }
    }
  }
  return json;
}

}  // namespace berth::bench
