// ImageCatalog: removal of names, and of layers that nothing needs any more.
#include <algorithm>

#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/image/image_catalog.h"

namespace berth::image {

absl::Status ImageCatalog::RemoveLocked(const std::string& text) {
  absl::StatusOr<ImageIndex::Image> found = index()->Find(text);
  if (absl::IsNotFound(found.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(found.status());
  return store_.RemoveImage((*found)->id);
}

absl::Status ImageCatalog::Remove(const std::string& text) {
  {
    base::MutexLock lock(change_mu_);
    RETURN_IF_ERROR(base::Annotate(RemoveLocked(text), fmt::format("remove image '{}'", text)));
    RETURN_IF_ERROR(Reload());
    if (unreferenced_.empty()) {
      return absl::OkStatus();
    }
    collecting_.Request();
  }
  // A kubelet that is short of room looks at the disk after its removals, and evicts pods when they
  // have not helped.
  if (files_.IsDiskShort()) {
    collecting_.WaitIdle();
    files_.WaitIdle();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ImageCatalog::Condemn(const std::set<int64_t>& layers) {
  base::MutexLock lock(change_mu_);
  ASSIGN_OR_RETURN(std::vector<std::string> images, store_.CondemnLayers(layers));
  RETURN_IF_ERROR(Reload());
  if (!unreferenced_.empty()) {
    collecting_.Request();
  }
  return images;
}

void ImageCatalog::CollectGarbage() {
  base::MutexLock lock(change_mu_);
  if (!unreferenced_.empty()) {
    collecting_.Request();
  }
}

absl::Status ImageCatalog::Collect() {
  std::vector<store::LayerRecord> collected;
  {
    base::MutexLock lock(change_mu_);
    collected = CollectLocked();
  }
  if (collected.empty()) {
    return absl::OkStatus();
  }
  // Without the records' end on the disk a power cut could leave records of layers that are gone.
  if (const absl::Status status = store_.Flush(); !status.ok()) {
    base::Log("image").warn("cannot remove unused layers, leaving them to the next start error={}",
                            status.ToString());
    return status;
  }
  for (const store::LayerRecord& layer : collected) {
    files_.MoveToTrash(layer);
  }
  storing_.Request();  // with the room there is now a failed round may succeed
  return absl::OkStatus();
}

std::vector<store::LayerRecord> ImageCatalog::CollectLocked() {
  if (unreferenced_.empty() || !in_use_) {
    return {};  // before containers are known, any layer may be one's
  }
  // Leases first: a container is known before its lease is dropped, so one of the two sees it.
  std::set<int64_t> in_use;
  {
    base::MutexLock lock(leases_->mu);
    for (const auto& [number, count] : leases_->held) {
      in_use.insert(number);
    }
  }
  in_use.merge(in_use_());
  const bool any_free = std::any_of(unreferenced_.begin(), unreferenced_.end(),
                                    [&](int64_t number) { return in_use.count(number) == 0; });
  if (!any_free) {
    return {};
  }
  absl::StatusOr<std::vector<store::LayerRecord>> collected = pool_.Collect(std::move(in_use));
  if (!collected.ok()) {
    base::Log("image").warn("cannot collect unused layers, trying again later error={}",
                            collected.status().ToString());
    return {};
  }
  for (const store::LayerRecord& layer : *collected) {
    files_.Announce(layer);
  }
  if (const absl::Status status = Reload(); !status.ok()) {
    base::Log("image").warn("cannot read images again, their sizes are of before error={}",
                            status.ToString());
  }
  return *std::move(collected);
}

}  // namespace berth::image
