// DiskReserve: a file that does nothing but take up room, until a disk is full.
//
// Removing things takes some room first: transactions are written to the database's log, layers are
// renamed. Most file systems grant that on a full disk, since the log has blocks of its own. btrfs
// does not at the limit of a quota: it charges metadata for every write and rename, also into
// allocated blocks, and grants nothing but unlink(2). What gives room back therefore tries once
// more with the reserve (Database, Purpose::kGivesRoom; LayerFiles). Nothing else may use it.
//
// Measured at a quota of btrfs (Linux 6.18, nodes of 16 KB): 64 KB let transactions through,
// 128 KB renames, too; the rest is for larger nodes and for whoever else takes room meanwhile. Two
// processes that write without a pause there take all of it within some removals.
//
// Threads: thread-safe, one call at a time; each may wait for the disk. Errors are logged.
// Source: fallocate(2), syncfs(2).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "lib/base/mutex.h"

namespace berth::store {

class DiskReserve {
 public:
  static constexpr int64_t kBytes = 4 << 20;

  explicit DiskReserve(std::string path) : path_(std::move(path)) {}

  // Makes the file, or what is missing of it: as much as there is room for. Where files cannot be
  // given blocks there is none, and one warning.
  void Make();
  // Removes the file and waits until the file system has its room back (a quota of btrfs only has
  // with a commit). False: there was none.
  bool Release();
  // Runs `work` with the reserve's room free and makes the reserve again, before others take that
  // room for good. Not reentrant.
  void Lend(const std::function<void()>& work);

 private:
  void MakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool ReleaseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string path_;
  base::Mutex mu_;
  bool has_warned_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace berth::store
