#include "lib/image/image_catalog.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/image/implicit_dirs.h"
#include "lib/oci/image.h"

namespace berth::image {

namespace {

// All annotations of one image, keys and values; lists have them for every image.
constexpr size_t kMaxAnnotationBytes = 64 << 10;

std::map<std::string, std::string> AnnotationsOf(const std::string& image_id,
                                                 const std::string& manifest) {
  auto document = oci::ParseManifest(manifest, "");
  auto* parsed = document.ok() ? std::get_if<oci::ImageManifest>(&*document) : nullptr;
  if (parsed == nullptr) {
    return {};
  }
  size_t bytes = 0;
  for (const auto& [key, value] : parsed->annotations) {
    bytes += key.size() + value.size();
  }
  if (bytes > kMaxAnnotationBytes) {
    base::Log("image").warn(
        "an image's annotations are too long to be shown, leaving them out image={} bytes={} "
        "limit={}",
        image_id, bytes, kMaxAnnotationBytes);
    return {};
  }
  return std::move(parsed->annotations);
}

}  // namespace

ImageCatalog::ImageCatalog(snapshot::OverlaySnapshotter& snapshotter, store::ImageStore& store,
                           LayerFiles& files, LayerPool& pool, std::vector<std::string> pinned,
                           std::string boot_id)
    : snapshotter_(snapshotter),
      store_(store),
      files_(files),
      pool_(pool),
      leases_(std::make_shared<Leases>()),
      boot_id_(std::move(boot_id)),
      pinned_(std::move(pinned)),
      index_(std::make_shared<const ImageIndex>()),
      storing_([this] { return Store(); }),
      collecting_([this] { return Collect(); }) {}

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
  const auto describe = [&](model::ImageRecord& image) {
    // It was parsed before it was stored; one that is unreadable now still is an image to list.
    if (const auto config = oci::ParseImageConfig(image.config);
        !image.is_artifact && config.ok()) {
      image.user = config->user;
    }
    image.annotations = AnnotationsOf(image.id, store_.Manifest(image.id).value_or(""));
  };
  auto index =
      std::make_shared<const ImageIndex>(std::move(images), pinned_, *this->index(), describe);
  base::MutexLock lock(mu_);
  index_ = std::move(index);
  usage_ = usage;
  return absl::OkStatus();
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
                                              const ImageContent& content,
                                              store::Durability durability) {
  std::vector<LayerPool::Claim> claims;
  absl::StatusOr<std::string> id = AddClaimed(ctx, content, durability, claims);
  if (!id.ok()) {
    pool_.Abandon(std::move(claims));
  } else if (durability == store::Durability::kDisk) {
    RETURN_IF_ERROR(WaitStored(ctx, *id));
  }
  return id;
}

bool ImageCatalog::AnyNew(const std::vector<LayerPool::Claim>& claims) {
  return std::any_of(claims.begin(), claims.end(),
                     [&](const LayerPool::Claim& claim) { return pool_.IsNew(claim); });
}

absl::StatusOr<std::string> ImageCatalog::AddClaimed(const base::OpContext& ctx,
                                                     const ImageContent& content,
                                                     store::Durability durability,
                                                     std::vector<LayerPool::Claim>& claims) {
  for (const LayerSource& source : content.layers) {
    ASSIGN_OR_RETURN(LayerPool::Claim claim, pool_.ClaimLayer(source));
    claims.push_back(std::move(claim));
  }
  RETURN_IF_ERROR(pool_.Wait(ctx, content.layers, claims));
  const bool is_stored = durability == store::Durability::kDisk;
  if (is_stored && AnyNew(claims)) {
    RETURN_IF_ERROR(StoreClaimed(ctx, claims));
  }

  store::ImageStore::Publication publication;
  publication.image_id = content.id;
  publication.config = content.config_bytes;
  publication.manifest = content.manifest_bytes;
  publication.is_artifact = content.is_artifact;
  publication.created_ns = absl::ToUnixNanos(absl::Now());
  publication.repo_tags = content.repo_tags;
  publication.repo_digests = content.repo_digests;
  publication.boot_id = is_stored ? "" : boot_id_;
  for (const LayerPool::Claim& claim : claims) {
    publication.layers.push_back(LayerPool::RecordOf(claim));
  }
  RETURN_IF_ERROR(ctx.Check());
  base::MutexLock lock(change_mu_);
  RETURN_IF_ERROR(pool_.CheckUnspoilt(claims));
  RETURN_IF_ERROR(Inherit(claims));
  const bool any_new = AnyNew(claims);
  RETURN_IF_ERROR(store_.Publish(publication));
  pool_.MarkComplete(claims);
  if (any_new && !is_stored) {
    storing_.Request();
  }
  RETURN_IF_ERROR(Reload());
  return content.id;
}

std::shared_ptr<const ImageIndex> ImageCatalog::index() const {
  base::MutexLock lock(mu_);
  return index_;
}

FsUsage ImageCatalog::Usage() const {
  const snapshot::Usage doomed = files_.Doomed();
  base::MutexLock lock(mu_);
  return {usage_.bytes + doomed.bytes, usage_.inodes + doomed.inodes};
}

void ImageCatalog::WaitIdle() {
  storing_.WaitIdle();  // may ask for a collection
  collecting_.WaitIdle();
  files_.WaitIdle();
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
