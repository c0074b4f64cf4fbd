// ImageCatalog: removal of names, and of layers that nothing needs any more.
#include <algorithm>

#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/image/image_catalog.h"
#include "lib/oci/reference.h"

namespace berth::image {

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
