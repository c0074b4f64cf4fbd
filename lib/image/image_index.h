// ImageIndex: which image a text means. A snapshot of the images, made anew after every change.
//
// Threads: immutable; share by shared_ptr<const>.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/image.h"

namespace berth::image {

// Patterns of images the kubelet must not remove, compared without regard to case: "name" (exactly,
// or without its tag), "prefix*", "*word*".
bool MatchesPinned(const std::vector<std::string>& patterns, const std::string& name);

class ImageIndex {
 public:
  using Image = std::shared_ptr<const model::ImageRecord>;

  ImageIndex() = default;
  // What an image says of itself beside its names; it never changes, so that it need not be read
  // again from what may be thousands of documents.
  using Describe = std::function<void(model::ImageRecord& image)>;

  // `images` in the order List() gives them. Sets their `pinned`, and by `describe`, or from
  // `before`, their `user` and `annotations`.
  ImageIndex(std::vector<model::ImageRecord> images, const std::vector<std::string>& pinned,
             const ImageIndex& before = ImageIndex(), const Describe& describe = {});

  const std::vector<Image>& images() const { return images_; }

  // See ImageService::Find.
  absl::StatusOr<Image> Find(const std::string& text) const;
  // By full id only; null when absent.
  Image FindId(const std::string& id) const;

 private:
  std::vector<Image> images_;
  std::map<std::string, Image> by_id_;
  std::map<std::string, Image> by_name_;  // tags and digests
};

}  // namespace berth::image
