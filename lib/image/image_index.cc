#include "lib/image/image_index.h"

#include <algorithm>
#include <cctype>

#include "fmt/format.h"

#include "lib/oci/reference.h"

namespace berth::image {

namespace {

constexpr std::string_view kSha256 = "sha256:";

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// "quay.io:5000/x/y:tag" and "quay.io:5000/x/y@sha256:..." -> "quay.io:5000/x/y".
std::string WithoutTag(const std::string& name) {
  const size_t at = name.find('@');
  if (at != std::string::npos) {
    return name.substr(0, at);
  }
  const size_t colon = name.rfind(':');
  const size_t slash = name.rfind('/');
  return colon != std::string::npos && (slash == std::string::npos || colon > slash)
             ? name.substr(0, colon)
             : name;
}

bool MatchesOne(std::string pattern, const std::string& name) {
  const bool any_start = pattern.size() > 1 && pattern.front() == '*';
  const bool any_end = !pattern.empty() && pattern.back() == '*';
  pattern =
      pattern.substr(any_start ? 1 : 0, pattern.size() - (any_start ? 1 : 0) - (any_end ? 1 : 0));
  if (any_start && any_end) {
    return name.find(pattern) != std::string::npos;
  }
  if (any_end) {
    return name.rfind(pattern, 0) == 0;
  }
  return !any_start && (name == pattern || WithoutTag(name) == pattern);
}

}  // namespace

bool MatchesPinned(const std::vector<std::string>& patterns, const std::string& name) {
  const std::string lower = Lower(name);
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return MatchesOne(Lower(pattern), lower); });
}

ImageIndex::ImageIndex(std::vector<model::ImageRecord> images,
                       const std::vector<std::string>& pinned, const ImageIndex& before,
                       const Describe& describe) {
  for (model::ImageRecord& record : images) {
    if (const Image known = before.FindId(record.id); known != nullptr) {
      record.user = known->user;
      record.annotations = known->annotations;
    } else if (describe) {
      describe(record);
    }
    const auto matches = [&](const std::string& name) { return MatchesPinned(pinned, name); };
    record.pinned = std::any_of(record.repo_tags.begin(), record.repo_tags.end(), matches) ||
                    std::any_of(record.repo_digests.begin(), record.repo_digests.end(), matches);
    auto image = std::make_shared<const model::ImageRecord>(std::move(record));
    for (const std::string& name : image->repo_tags) {
      by_name_[name] = image;
    }
    for (const std::string& name : image->repo_digests) {
      by_name_.try_emplace(name, image);  // one manifest can be of one image only; the newest wins
    }
    by_id_[image->id] = image;
    images_.push_back(std::move(image));
  }
}

ImageIndex::Image ImageIndex::FindId(const std::string& id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

absl::StatusOr<ImageIndex::Image> ImageIndex::Find(const std::string& text) const {
  const std::string hex = text.rfind(kSha256, 0) == 0 ? text.substr(kSha256.size()) : text;
  if (oci::IsFullImageId(text)) {
    Image image = FindId(hex);
    return image != nullptr ? absl::StatusOr<Image>(std::move(image))
                            : absl::NotFoundError(fmt::format("no image '{}'", text));
  }
  const absl::StatusOr<oci::Reference> reference = oci::Reference::Parse(text);
  if (reference.ok()) {
    const auto named = by_name_.find(reference->ToString());
    if (named != by_name_.end()) {
      return named->second;
    }
    // A short name may have been found in another registry than docker.io, by search list or alias.
    if (reference->is_short_name()) {
      const std::string ending =
          "/" + text +
          (reference->tag() == "latest" && text.find(':') == std::string::npos ? ":latest" : "");
      for (const auto& [name, image] : by_name_) {
        if (name.size() > ending.size() &&
            name.compare(name.size() - ending.size(), ending.size(), ending) == 0 &&
            name.find('/') == name.size() - ending.size()) {
          return image;
        }
      }
    }
  }
  if (oci::MayBeImageIdPrefix(text)) {
    const auto first = by_id_.lower_bound(hex);
    if (first != by_id_.end() && first->first.rfind(hex, 0) == 0) {
      const auto second = std::next(first);
      if (second != by_id_.end() && second->first.rfind(hex, 0) == 0) {
        return absl::InvalidArgumentError(
            fmt::format("image id '{}' is ambiguous: give more digits", text));
      }
      return first->second;
    }
    return absl::NotFoundError(fmt::format("no image '{}'", text));
  }
  if (!reference.ok()) {
    return reference.status();
  }
  return absl::NotFoundError(fmt::format("no image '{}'", text));
}

}  // namespace berth::image
