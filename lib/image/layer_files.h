// LayerFiles: the directories and recipes of layers, and the trash that removed ones go through.
//
// A layer is removed in two steps: renamed into the trash, which takes no time, and deleted there
// by a thread, of low priority where there is room. What is in the trash means nothing any more; a
// start deletes it. The name of what lies there, "<number>-<bytes>-<inodes>-<random>", says what it
// takes up.
//
// Where `layers` is a file system of its own nothing can be renamed out of it; a layer is then
// renamed within it and deleted from there.
//
// Threads: thread-safe; calls for the same layer must not overlap. Ownership: borrows snapshotter;
// the destructor gives up deleting, in the middle of a layer.
// Source: paths as store/paths.h draws them.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/mutex.h"
#include "lib/base/unique_fd.h"
#include "lib/image/background_job.h"
#include "lib/snapshot/overlay_snapshotter.h"
#include "lib/store/disk_reserve.h"
#include "lib/store/image_store.h"

namespace berth::image {

class LayerFiles {
 public:
  // `sync`: syncfs(2) of a descriptor; empty: the system's. `reserve`: of the disk; null: none. It
  // is released where the trash has no room, and made again when the trash is empty and when what
  // was pulled is on the disk.
  LayerFiles(snapshot::OverlaySnapshotter& snapshotter, std::string recipes_path,
             std::string trash_path, std::function<absl::Status(int fd)> sync,
             store::DiskReserve* reserve = nullptr);
  ~LayerFiles();

  // Makes the directories. Moves to the trash what is a layer's or a recipe's and of none of
  // `known`, and begins to delete what is there. Returns how many layers it moved. Once, before any
  // other call but those of snapshotter.
  absl::StatusOr<int> Prepare(const std::set<int64_t>& known);

  struct NewLayer {
    base::UniqueFd root;    // an empty directory
    base::UniqueFd recipe;  // an empty file
  };
  absl::StatusOr<NewLayer> Make(int64_t number);

  // Counts a layer whose record goes as one that is being removed, until MoveToTrash has led to its
  // end.
  void Announce(const store::LayerRecord& layer);
  // Removes the recipe and takes the directory out of the layers; it is deleted in the background.
  // Failures are logged and left to the next start.
  void MoveToTrash(const store::LayerRecord& layer);

  // What was announced or found in the trash, and is not deleted yet.
  snapshot::Usage Doomed() const;

  // Less than a fifth of the layers' file system is free, in bytes or inodes: a kubelet begins to
  // remove images at 15 %, goes on to 20 %, and evicts pods when that has not helped at once.
  bool IsDiskShort() const;

  // Writes everything written so far to the disk (syncfs of the file systems of layers and
  // recipes). Errors also tell of a write in the past that nobody has been told of. An error means
  // that anything written since the last success may be lost.
  absl::Status Sync();

  void WaitIdle() { deletion_.WaitIdle(); }

 private:
  struct Entry {
    std::string path;
    snapshot::Usage usage;
  };
  absl::Status Move(const std::string& path, const std::string& name, const snapshot::Usage& usage);
  absl::Status OpenForSync();
  void MakeReserve();
  absl::Status Delete();

  snapshot::OverlaySnapshotter& snapshotter_;
  const std::string recipes_path_;
  const std::string trash_path_;
  const std::function<absl::Status(int fd)> sync_;
  store::DiskReserve* const reserve_;
  // Open from the start on: the kernel tells a descriptor of the failures since it was opened.
  std::vector<base::UniqueFd> sync_fds_;
  std::atomic<bool> is_stopping_ = false;

  mutable base::Mutex mu_;
  std::deque<Entry> trash_ ABSL_GUARDED_BY(mu_);
  snapshot::Usage doomed_ ABSL_GUARDED_BY(mu_);
  BackgroundJob deletion_;
};

}  // namespace berth::image
