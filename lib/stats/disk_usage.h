// DiskUsage: what directory trees take on disk, without making anybody wait for a walk.
//
// A tree's last measurement is kept and handed out. One that is older than kFresh is measured again
// by a worker, after somebody has asked for it: one tree at a time, and none when nobody asks. A
// tree that has not been measured yet is measured while its asker waits, as far as the asker's
// budget goes, and else by the worker, too. A walk that took long is not repeated soon: walking
// takes at most one part in kRest of a CPU for each tree.
//
// Threads: thread-safe; mu_ is a leaf. The worker's thread starts with the first tree it has to
// measure and ends with this object, which interrupts it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/base/work_queue.h"
#include "lib/snapshot/overlay_snapshotter.h"

namespace berth::stats {

struct DiskMeasurement {
  absl::Time taken;
  snapshot::Usage usage;
};

class DiskUsage {
 public:
  static constexpr absl::Duration kFresh = absl::Seconds(10);
  static constexpr int kRest = 20;
  // Of trees that nobody asks about.
  static constexpr absl::Duration kForget = absl::Minutes(10);

  explicit DiskUsage(absl::Duration fresh = kFresh) : fresh_(fresh) {}
  ~DiskUsage();

  // Tree `id` at `path`. Absent: not measured yet (asking again later helps), or not there.
  std::optional<DiskMeasurement> Get(const base::OpContext& budget, const std::string& id,
                                     const std::string& path);

  size_t size() const {
    base::MutexLock lock(mu_);
    return entries_.size();
  }

 private:
  struct Entry {
    std::optional<DiskMeasurement> last;
    absl::Time next = absl::InfinitePast();  // no new measurement before
    absl::Time asked;
    bool busy = false;  // being measured, or queued for it
  };
  // Measures and stores. False: the budget ended first, and the entry is still busy.
  bool Measure(const base::OpContext& budget, const std::string& id, const std::string& path);
  void Queue(const std::string& id, const std::string& path);
  void ForgetOldLocked(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const absl::Duration fresh_;
  std::atomic<bool> stopping_ = false;
  mutable base::Mutex mu_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mu_);
  absl::Time swept_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  base::WorkQueue queue_;
};

}  // namespace berth::stats
