#include "lib/stats/disk_usage.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"

#include "lib/base/log.h"

namespace berth::stats {

namespace {

// After a walk that failed: the disk will not be well a moment later.
constexpr absl::Duration kRetry = absl::Minutes(1);

}  // namespace

DiskUsage::~DiskUsage() {
  stopping_ = true;
  queue_.Stop();
}

std::optional<DiskMeasurement> DiskUsage::Get(const base::OpContext& budget, const std::string& id,
                                              const std::string& path) {
  const absl::Time now = absl::Now();
  std::optional<DiskMeasurement> last;
  {
    base::MutexLock lock(mu_);
    ForgetOldLocked(now);
    Entry& entry = entries_[id];
    entry.asked = now;
    if (entry.busy || now < entry.next) {
      return entry.last;
    }
    entry.busy = true;
    last = entry.last;
  }
  if (last || !budget.Check().ok() || !Measure(budget, id, path)) {
    Queue(id, path);
    return last;
  }
  base::MutexLock lock(mu_);
  const auto it = entries_.find(id);
  return it == entries_.end() ? std::nullopt : it->second.last;
}

void DiskUsage::Queue(const std::string& id, const std::string& path) {
  queue_.Add([this, id, path] {
    Measure(base::OpContext(absl::InfiniteFuture(), [this] { return stopping_.load(); }), id, path);
  });
}

bool DiskUsage::Measure(const base::OpContext& budget, const std::string& id,
                        const std::string& path) {
  const absl::Time began = absl::Now();
  const absl::StatusOr<snapshot::Usage> usage =
      snapshot::OverlaySnapshotter::MeasureTree(budget, path);
  if (absl::IsDeadlineExceeded(usage.status()) || absl::IsCancelled(usage.status())) {
    return false;
  }
  const absl::Time now = absl::Now();
  if (!usage.ok() && !absl::IsNotFound(usage.status())) {
    base::Log("stats").warn("a writable layer is not measured, trying again in a minute: {}",
                            usage.status().ToString());
  }
  base::MutexLock lock(mu_);
  const auto it = entries_.find(id);
  if (it == entries_.end()) {
    return true;
  }
  if (absl::IsNotFound(usage.status())) {
    entries_.erase(it);
    return true;
  }
  Entry& entry = it->second;
  entry.busy = false;
  if (usage.ok()) {
    entry.last = DiskMeasurement{began, *usage};
    entry.next = began + std::max(fresh_, (now - began) * kRest);
  } else {
    entry.next = now + kRetry;
  }
  return true;
}

void DiskUsage::ForgetOldLocked(absl::Time now) {
  if (now - swept_ < kForget / 10) {
    return;
  }
  swept_ = now;
  std::erase_if(entries_, [now](const auto& item) {
    return !item.second.busy && now - item.second.asked > kForget;
  });
}

}  // namespace berth::stats
