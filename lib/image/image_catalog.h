// ImageCatalog: the images that are visible, in the database and in memory, and what keeps layers
// alive.
//
// Every change is one transaction and a new ImageIndex; readers see the old or the new one. No
// request waits for the disk:
// - An image is visible as soon as its layers are unpacked. Layers that are new are marked with the
//   id of this boot; a thread then writes the file system to the disk and takes the marks away in a
//   durable transaction. A start drops the images that have a layer with another boot's mark: after
//   a power cut an image is whole or not there. One of this boot is whole, its data is the
//   kernel's, and it is written then.
// - When the disk fails to store something, nobody knows what: every image with a mark goes, and
//   what is being unpacked is not published.
// - An import is no request of a kubelet and does wait: its layers are written to the disk before
//   it is published, and its record right after; where that fails, it is taken back.
// - A removal takes names away. A thread then removes the records of layers that nothing needs,
//   waits until that is on the disk, and moves the layers to the trash (LayerFiles). Where the disk
//   is short of room, the removal waits until they are deleted.
//
// Threads: thread-safe. Lock order: change_mu_ (one change at a time; held during transactions) ->
// mu_ (a few lines). The threads of the two jobs come and go (BackgroundJob); the destructor waits
// for a running one, which may be writing to the disk. Ownership: borrows store, snapshotter, files
// and pool. image_catalog.cc adds and finds, image_removal.cc removes and collects,
// image_storing.cc recovers and writes to the disk.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/image/background_job.h"
#include "lib/image/image_content.h"
#include "lib/image/image_index.h"
#include "lib/image/image_service.h"
#include "lib/image/layer_files.h"
#include "lib/image/layer_pool.h"
#include "lib/snapshot/overlay_snapshotter.h"
#include "lib/store/image_store.h"

namespace berth::image {

class ImageCatalog {
 public:
  // `boot_id`: of this boot; empty: the kernel's.
  ImageCatalog(snapshot::OverlaySnapshotter& snapshotter, store::ImageStore& store,
               LayerFiles& files, LayerPool& pool, std::vector<std::string> pinned,
               std::string boot_id);

  // See ImageService::Recover.
  absl::Status Recover();

  // Unpacks what is missing of an image and makes it visible, before it is on the disk or (kDisk)
  // after that. Returns its id. Errors: it is not visible. But with kDisk it is when the context
  // ends in the last instant, while a layer that it shares with a pull is being written.
  absl::StatusOr<std::string> Add(const base::OpContext& ctx, const ImageContent& content,
                                  store::Durability durability);
  // Waits until nothing is left to do in the background. For tests.
  void WaitIdle();

  std::shared_ptr<const ImageIndex> index() const;
  FsUsage Usage() const;
  absl::StatusOr<ImageLease> Use(const std::string& text);
  absl::Status Remove(const std::string& text);
  absl::StatusOr<std::vector<std::string>> Condemn(const std::set<int64_t>& layers);
  void CollectGarbage();
  void SetLayersInUse(std::function<std::set<int64_t>()> in_use);
  void SetPinned(std::vector<std::string> patterns);

 private:
  // Layers that leases hold; leases may outlive the catalog.
  struct Leases {
    base::Mutex mu;
    std::map<int64_t, int> held ABSL_GUARDED_BY(mu);
  };

  absl::StatusOr<std::string> AddClaimed(const base::OpContext& ctx, const ImageContent& content,
                                         store::Durability durability,
                                         std::vector<LayerPool::Claim>& claims);
  bool AnyNew(const std::vector<LayerPool::Claim>& claims);
  // Writes claimed layers that are new to the disk.
  absl::Status StoreClaimed(const base::OpContext& ctx, std::vector<LayerPool::Claim>& claims);
  // Waits until the record and the layers of a published image are on the disk, or it was removed.
  absl::Status WaitStored(const base::OpContext& ctx, const std::string& id);
  absl::Status Inherit(const std::vector<LayerPool::Claim>& claims)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);
  absl::Status Reload() ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);
  absl::Status RemoveLocked(const std::string& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);
  std::vector<store::LayerRecord> CollectLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);
  absl::Status Collect();  // the work of collecting_
  absl::Status ForgetDamaged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);
  absl::Status Store();  // the work of storing_
  absl::Status DropUnstored(const absl::Status& why);

  snapshot::OverlaySnapshotter& snapshotter_;
  store::ImageStore& store_;
  LayerFiles& files_;
  LayerPool& pool_;
  const std::shared_ptr<Leases> leases_;

  std::string boot_id_;          // set by Recover at the latest
  absl::Status failed_storing_;  // Store's alone: what it could not act upon yet
  // How many wait for the disk with layers that no image has yet.
  std::atomic<int> unpublished_ = 0;

  base::Mutex change_mu_;
  std::function<std::set<int64_t>()> in_use_ ABSL_GUARDED_BY(change_mu_);
  std::vector<std::string> pinned_ ABSL_GUARDED_BY(change_mu_);
  std::set<int64_t> unreferenced_ ABSL_GUARDED_BY(change_mu_);  // complete layers of no image

  mutable base::Mutex mu_;
  std::shared_ptr<const ImageIndex> index_ ABSL_GUARDED_BY(mu_);
  FsUsage usage_ ABSL_GUARDED_BY(mu_);

  BackgroundJob storing_;
  BackgroundJob collecting_;
};

}  // namespace berth::image
