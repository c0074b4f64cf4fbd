#include "lib/image/image_catalog.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/image/implicit_dirs.h"
#include "lib/oci/reference.h"

namespace berth::image {

ImageCatalog::ImageCatalog(snapshot::OverlaySnapshotter& snapshotter, store::ImageStore& store,
                           LayerPool& pool, std::vector<std::string> pinned)
    : snapshotter_(snapshotter),
      store_(store),
      pool_(pool),
      leases_(std::make_shared<Leases>()),
      pinned_(std::move(pinned)),
      index_(std::make_shared<const ImageIndex>()) {}

absl::Status ImageCatalog::Reload() {
  ASSIGN_OR_RETURN(std::vector<model::ImageRecord> images, store_.Load());
  ASSIGN_OR_RETURN(const std::vector<store::LayerRecord> layers, store_.Layers());
  FsUsage usage;
  unreferenced_.clear();
  for (const store::LayerRecord& layer : layers) {
    usage.bytes += layer.size_bytes;
    usage.inodes += layer.inodes;
    unreferenced_.insert(layer.number);
  }
  for (const model::ImageRecord& image : images) {
    for (const int64_t number : image.layers) {
      unreferenced_.erase(number);
    }
  }
  auto index = std::make_shared<const ImageIndex>(std::move(images), pinned_);
  base::MutexLock lock(mu_);
  index_ = std::move(index);
  usage_ = usage;
  return absl::OkStatus();
}

absl::Status ImageCatalog::Recover() {
  base::MutexLock lock(change_mu_);
  RETURN_IF_ERROR(snapshotter_.Prepare());
  ASSIGN_OR_RETURN(const std::set<int64_t> complete, store_.ForgetReserved());
  ASSIGN_OR_RETURN(const int removed, snapshotter_.PruneLayers(complete));
  if (removed > 0) {
    base::Log("image").info("removed leftovers of unfinished pulls layers={}", removed);
  }
  RETURN_IF_ERROR(ForgetDamaged(complete));
  return Reload();
}

// An image that lacks a layer cannot run; forgotten, it is pulled again when it is needed.
absl::Status ImageCatalog::ForgetDamaged(const std::set<int64_t>& complete) {
  std::set<int64_t> present;
  for (const int64_t number : complete) {
    if (snapshotter_.OpenLayerDir(number).ok()) {
      present.insert(number);
    }
  }
  if (present.size() == complete.size()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<model::ImageRecord> images, store_.Load());
  for (const model::ImageRecord& image : images) {
    const auto missing = std::find_if(image.layers.begin(), image.layers.end(),
                                      [&](int64_t number) { return present.count(number) == 0; });
    if (missing != image.layers.end()) {
      base::Log("image").error(
          "image has lost a layer, forgetting it; pull it again image={} layer={}", image.id,
          snapshotter_.LayerPath(*missing));
      RETURN_IF_ERROR(store_.RemoveImage(image.id));
    }
  }
  return store_.CollectLayers(present).status();
}

absl::Status ImageCatalog::Inherit(const std::vector<LayerPool::Claim>& claims) {
  std::vector<int64_t> below;  // nearest first
  for (const LayerPool::Claim& claim : claims) {
    const int64_t number = LayerPool::RecordOf(claim).number;
    if (pool_.IsNew(claim)) {
      RETURN_IF_ERROR(InheritDirs(snapshotter_, number, pool_.TakeImplicitDirs(claim), below));
    }
    below.insert(below.begin(), number);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ImageCatalog::Add(const base::OpContext& ctx,
                                              const ImageContent& content) {
  std::vector<LayerPool::Claim> claims;
  absl::StatusOr<std::string> id = AddClaimed(ctx, content, claims);
  if (!id.ok()) {
    pool_.Abandon(std::move(claims));
  }
  return id;
}

absl::StatusOr<std::string> ImageCatalog::AddClaimed(const base::OpContext& ctx,
                                                     const ImageContent& content,
                                                     std::vector<LayerPool::Claim>& claims) {
  for (const LayerSource& source : content.layers) {
    ASSIGN_OR_RETURN(LayerPool::Claim claim, pool_.ClaimLayer(source));
    claims.push_back(std::move(claim));
  }
  RETURN_IF_ERROR(pool_.Wait(ctx, content.layers, claims));

  const bool any_new =
      std::any_of(claims.begin(), claims.end(),
                  [&](const LayerPool::Claim& claim) { return pool_.IsNew(claim); });
  store::ImageStore::Publication publication;
  publication.image_id = content.id;
  publication.config = content.config_bytes;
  publication.created_ns = absl::ToUnixNanos(absl::Now());
  publication.repo_tags = content.repo_tags;
  publication.repo_digests = content.repo_digests;
  for (const LayerPool::Claim& claim : claims) {
    publication.layers.push_back(LayerPool::RecordOf(claim));
  }
  if (any_new) {
    {
      base::MutexLock lock(change_mu_);
      RETURN_IF_ERROR(Inherit(claims));
    }
    // Before the record says that they are there, and outside the lock: it takes as long as the
    // disk does.
    RETURN_IF_ERROR(snapshotter_.Sync());
    RETURN_IF_ERROR(ctx.Check());
  }
  base::MutexLock lock(change_mu_);
  RETURN_IF_ERROR(store_.Publish(publication));
  pool_.MarkComplete(claims);
  RETURN_IF_ERROR(Reload());
  return content.id;
}

std::shared_ptr<const ImageIndex> ImageCatalog::index() const {
  base::MutexLock lock(mu_);
  return index_;
}

FsUsage ImageCatalog::Usage() const {
  base::MutexLock lock(mu_);
  return usage_;
}

absl::StatusOr<ImageLease> ImageCatalog::Use(const std::string& text) {
  // Found and held in one step, or a removal could come in between.
  base::MutexLock lock(mu_);
  ASSIGN_OR_RETURN(ImageIndex::Image image, index_->Find(text));
  {
    base::MutexLock leases_lock(leases_->mu);
    for (const int64_t number : image->layers) {
      ++leases_->held[number];
    }
  }
  std::shared_ptr<void> hold(nullptr, [leases = leases_, layers = image->layers](void*) {
    base::MutexLock leases_lock(leases->mu);
    for (const int64_t number : layers) {
      if (--leases->held[number] == 0) {
        leases->held.erase(number);
      }
    }
  });
  return ImageLease(std::move(image), std::move(hold));
}

absl::Status ImageCatalog::RemoveLocked(const std::string& text) {
  absl::StatusOr<ImageIndex::Image> found = index()->Find(text);
  if (absl::IsNotFound(found.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(found.status());
  const model::ImageRecord& image = **found;
  const absl::StatusOr<oci::Reference> reference = oci::Reference::Parse(text);
  const std::string name = reference.ok() ? reference->ToString() : "";
  const auto has = [&](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  std::vector<std::string> tags;  // that go
  std::vector<std::string> digests;
  if (has(image.repo_tags)) {
    tags.push_back(name);
  } else if (has(image.repo_digests)) {
    const std::string repository = reference->Name();
    const auto of_repository = [&](const std::string& other, char separator) {
      return other.rfind(repository + separator, 0) == 0;
    };
    for (const std::string& tag : image.repo_tags) {
      if (of_repository(tag, ':')) {
        tags.push_back(tag);
      }
    }
    for (const std::string& digest : image.repo_digests) {
      if (of_repository(digest, '@')) {
        digests.push_back(digest);
      }
    }
  }
  const bool by_tag = !tags.empty() && digests.empty();
  const bool keeps_image = (by_tag && tags.size() < image.repo_tags.size()) ||
                           (!digests.empty() && digests.size() < image.repo_digests.size());
  if (!keeps_image) {
    return store_.RemoveImage(image.id);
  }
  for (const std::string& tag : tags) {
    RETURN_IF_ERROR(store_.Untag(tag));
  }
  for (const std::string& digest : digests) {
    RETURN_IF_ERROR(store_.RemoveRepoDigest(digest, image.id));
  }
  return absl::OkStatus();
}

absl::Status ImageCatalog::Remove(const std::string& text) {
  std::vector<int64_t> collected;
  {
    base::MutexLock lock(change_mu_);
    RETURN_IF_ERROR(base::Annotate(RemoveLocked(text), fmt::format("remove image '{}'", text)));
    RETURN_IF_ERROR(Reload());
    collected = CollectLocked();
  }
  RemoveDirectories(collected);
  return absl::OkStatus();
}

void ImageCatalog::CollectGarbage() {
  std::vector<int64_t> collected;
  {
    base::MutexLock lock(change_mu_);
    collected = CollectLocked();
  }
  RemoveDirectories(collected);
}

std::vector<int64_t> ImageCatalog::CollectLocked() {
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
  absl::StatusOr<std::vector<int64_t>> collected = pool_.Collect(std::move(in_use));
  const absl::Status status = collected.ok() ? Reload() : collected.status();
  if (!status.ok()) {
    base::Log("image").warn("cannot collect unused layers, trying again later error={}",
                            status.ToString());
  }
  return collected.ok() ? *std::move(collected) : std::vector<int64_t>();
}

void ImageCatalog::RemoveDirectories(const std::vector<int64_t>& numbers) {
  for (const int64_t number : numbers) {
    const absl::Status status = snapshotter_.RemoveLayer(number);
    if (!status.ok()) {
      base::Log("image").warn(
          "cannot remove an unused layer, leaving it to the next start layer={} error={}", number,
          status.ToString());
    }
  }
}

void ImageCatalog::SetLayersInUse(std::function<std::set<int64_t>()> in_use) {
  base::MutexLock lock(change_mu_);
  in_use_ = std::move(in_use);
}

void ImageCatalog::SetPinned(std::vector<std::string> patterns) {
  base::MutexLock lock(change_mu_);
  pinned_ = std::move(patterns);
  const absl::Status status = Reload();
  if (!status.ok()) {
    base::Log("image").warn("cannot read images again, pins stay as they were error={}",
                            status.ToString());
  }
}

}  // namespace berth::image
