// CpuRates: how fast each object uses CPU time: this reading less the one before it.
//
// Threads: thread-safe; mu_ is a leaf, held for one map access. Memory: an entry for each object
// asked about within kForget.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"

#include "lib/base/mutex.h"

namespace berth::stats {

class CpuRates {
 public:
  // Readings closer together than this say nothing: the last rate stands.
  static constexpr absl::Duration kMinWindow = absl::Milliseconds(100);
  static constexpr absl::Duration kForget = absl::Minutes(10);

  // Takes a reading of object `id` at `now` (any clock, but always the same one) and returns its
  // rate, 1e9 being one CPU fully used. Absent: it is the first, or the counter went backwards (the
  // cgroup is a new one), from where it begins anew.
  std::optional<uint64_t> Update(const std::string& id, uint64_t cpu_ns, absl::Time now);

  size_t size() const {
    base::MutexLock lock(mu_);
    return entries_.size();
  }

 private:
  struct Entry {
    uint64_t cpu_ns = 0;
    absl::Time taken;
    absl::Time asked;
    std::optional<uint64_t> rate;
  };
  void ForgetOldLocked(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable base::Mutex mu_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mu_);
  absl::Time swept_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

}  // namespace berth::stats
