#include "lib/stats/cpu_rates.h"

#include <algorithm>

namespace berth::stats {

namespace {

// More than any machine has.
constexpr double kMaxRate = 1e18;

}  // namespace

std::optional<uint64_t> CpuRates::Update(const std::string& id, uint64_t cpu_ns, absl::Time now) {
  base::MutexLock lock(mu_);
  ForgetOldLocked(now);
  const auto [it, is_new] = entries_.try_emplace(id);
  Entry& entry = it->second;
  const absl::Duration window = now - entry.taken;
  entry.asked = std::max(entry.asked, now);
  if (is_new || cpu_ns < entry.cpu_ns) {
    // A reading that another thread took earlier and brings later changes nothing.
    if (is_new || window > absl::ZeroDuration()) {
      entry = {.cpu_ns = cpu_ns, .taken = now, .asked = now, .rate = std::nullopt};
    }
    return entry.rate;
  }
  if (window >= kMinWindow) {
    const double rate = static_cast<double>(cpu_ns - entry.cpu_ns) / absl::ToDoubleSeconds(window);
    entry.rate = static_cast<uint64_t>(std::min(rate, kMaxRate));
    entry.cpu_ns = cpu_ns;
    entry.taken = now;
  }
  return entry.rate;
}

void CpuRates::ForgetOldLocked(absl::Time now) {
  if (now - swept_ < kForget / 10) {
    return;
  }
  swept_ = now;
  std::erase_if(entries_, [now](const auto& item) { return now - item.second.asked > kForget; });
}

}  // namespace berth::stats
