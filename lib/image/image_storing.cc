// ImageCatalog: what is on the disk, at start and afterwards.
#include <algorithm>

#include "absl/strings/str_join.h"
#include "fmt/format.h"

#include "lib/base/boot_id.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/image/image_catalog.h"

namespace berth::image {

absl::Status ImageCatalog::Recover() {
  if (boot_id_.empty()) {
    ASSIGN_OR_RETURN(boot_id_, base::BootId());
  }
  base::MutexLock lock(change_mu_);
  RETURN_IF_ERROR(snapshotter_.Prepare());
  RETURN_IF_ERROR(store_.ForgetReserved().status());
  RETURN_IF_ERROR(ForgetDamaged());
  ASSIGN_OR_RETURN(const std::vector<store::LayerRecord> layers, store_.Layers());
  std::set<int64_t> known;
  for (const store::LayerRecord& layer : layers) {
    known.insert(layer.number);
  }
  ASSIGN_OR_RETURN(const int removed, files_.Prepare(known));
  if (removed > 0) {
    base::Log("image").info("removing leftovers in the background layers={}", removed);
  }
  RETURN_IF_ERROR(Reload());
  storing_.Request();
  collecting_.Request();
  return absl::OkStatus();
}

// An image that lacks a layer, or has one that may not have reached the disk before the machine
// stopped, cannot run; forgotten, it is pulled again when it is needed.
absl::Status ImageCatalog::ForgetDamaged() {
  ASSIGN_OR_RETURN(const std::vector<store::LayerRecord> complete, store_.Layers());
  ASSIGN_OR_RETURN(const auto pending, store_.PendingLayers());
  std::set<int64_t> good;
  for (const store::LayerRecord& layer : complete) {
    const auto found = pending.find(layer.number);
    const bool is_whole = found == pending.end() || found->second == boot_id_;
    if (is_whole && snapshotter_.OpenLayerDir(layer.number).ok()) {
      good.insert(layer.number);
    }
  }
  if (good.size() == complete.size()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<model::ImageRecord> images, store_.Load());
  for (const model::ImageRecord& image : images) {
    const auto bad = std::find_if(image.layers.begin(), image.layers.end(),
                                  [&](int64_t number) { return good.count(number) == 0; });
    if (bad == image.layers.end()) {
      continue;
    }
    base::Log("image").error(
        "image has {}, forgetting it; pull it again image={} names={} layer={}",
        pending.count(*bad) > 0 ? "a layer that was not on the disk when the machine stopped"
                                : "lost a layer",
        image.id, absl::StrJoin(image.repo_tags, ","), snapshotter_.LayerPath(*bad));
    RETURN_IF_ERROR(store_.RemoveImage(image.id));
  }
  RETURN_IF_ERROR(store_.CollectLayers(good).status());
  return store_.Flush();
}

absl::Status ImageCatalog::Store() {
  // One that is published from here on is the next round's: whoever publishes asks for it.
  const auto pending = store_.PendingLayers();
  if (!pending.ok()) {
    base::Log("image").warn("cannot tell which layers are to be written to the disk error={}",
                            pending.status().ToString());
    return pending.status();
  }
  if (pending->empty()) {
    return absl::OkStatus();
  }
  const absl::Status stored = failed_storing_.ok() ? files_.Sync() : failed_storing_;
  if (!stored.ok()) {
    failed_storing_ = stored;
    return DropUnstored(stored);
  }
  const absl::Status status = store_.MarkDurable(*pending);
  if (!status.ok()) {
    base::Log("image").warn(
        "images are on the disk and the database could not be told; until a later pull tells it, "
        "they are forgotten if the machine stops without a warning error={}",
        status.ToString());
  }
  return status;
}

// Also what was published since the round began: nobody knows what the disk has failed to store.
absl::Status ImageCatalog::DropUnstored(const absl::Status& why) {
  base::MutexLock lock(change_mu_);
  ASSIGN_OR_RETURN(const auto pending, store_.PendingLayers());
  std::set<int64_t> numbers;
  for (const auto& [number, boot_id] : pending) {
    numbers.insert(number);
  }
  pool_.Spoil(numbers);
  const absl::StatusOr<std::vector<std::string>> images = store_.FailPending();
  if (!images.ok()) {
    base::Log("image").error(
        "the disk failed to store images, and the database could not be told; do not trust what "
        "was pulled last, and look at the disk error={} database={}",
        why.ToString(), images.status().ToString());
    return why;
  }
  failed_storing_ = absl::OkStatus();
  for (const std::string& id : *images) {
    const ImageIndex::Image image = index()->FindId(id);
    base::Log("image").error(
        "the disk failed to store an image, forgetting it; look at the disk and pull it again "
        "image={} names={} error={}",
        id, image == nullptr ? "" : absl::StrJoin(image->repo_tags, ","), why.ToString());
  }
  RETURN_IF_ERROR(Reload());
  collecting_.Request();
  return why;
}

absl::Status ImageCatalog::WaitStored(const base::OpContext& ctx,
                                      const std::vector<std::string>& ids) {
  RETURN_IF_ERROR(storing_.Wait(ctx, storing_.Request()));
  // The round before may have failed, and left this one nothing to store.
  for (const std::string& id : ids) {
    const absl::Status found = store_.Manifest(id).status();
    if (absl::IsNotFound(found)) {
      return absl::UnavailableError(
          fmt::format("image '{}' is gone: the disk failed to store it, or it was removed", id));
    }
    RETURN_IF_ERROR(found);
  }
  return store_.Flush();
}

}  // namespace berth::image
