// ImageCatalog: the images that are visible, in the database and in memory, and what keeps layers
// alive.
//
// Every change is one transaction and a new ImageIndex; readers see the old or the new one.
// Threads: thread-safe. Lock order: change_mu_ (one change at a time; held during transactions) ->
// mu_ (a few lines). Ownership: borrows store, snapshotter and pool.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/image/image_content.h"
#include "lib/image/image_index.h"
#include "lib/image/image_service.h"
#include "lib/image/layer_pool.h"
#include "lib/snapshot/overlay_snapshotter.h"
#include "lib/store/image_store.h"

namespace berth::image {

class ImageCatalog {
 public:
  ImageCatalog(snapshot::OverlaySnapshotter& snapshotter, store::ImageStore& store, LayerPool& pool,
               std::vector<std::string> pinned);

  // See ImageService::Recover.
  absl::Status Recover();

  // Unpacks what is missing of an image and makes it visible. Returns its id.
  absl::StatusOr<std::string> Add(const base::OpContext& ctx, const ImageContent& content);

  std::shared_ptr<const ImageIndex> index() const;
  FsUsage Usage() const;
  absl::StatusOr<ImageLease> Use(const std::string& text);
  absl::Status Remove(const std::string& text);
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
                                         std::vector<LayerPool::Claim>& claims);
  absl::Status Inherit(const std::vector<LayerPool::Claim>& claims)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);
  absl::Status Reload() ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);
  absl::Status RemoveLocked(const std::string& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);
  std::vector<int64_t> CollectLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);
  void RemoveDirectories(const std::vector<int64_t>& numbers);
  absl::Status ForgetDamaged(const std::set<int64_t>& complete)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_);

  snapshot::OverlaySnapshotter& snapshotter_;
  store::ImageStore& store_;
  LayerPool& pool_;
  const std::shared_ptr<Leases> leases_;

  base::Mutex change_mu_;
  std::function<std::set<int64_t>()> in_use_ ABSL_GUARDED_BY(change_mu_);
  std::vector<std::string> pinned_ ABSL_GUARDED_BY(change_mu_);
  std::set<int64_t> unreferenced_ ABSL_GUARDED_BY(change_mu_);  // complete layers of no image

  mutable base::Mutex mu_;
  std::shared_ptr<const ImageIndex> index_ ABSL_GUARDED_BY(mu_);
  FsUsage usage_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::image
