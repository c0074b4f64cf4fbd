// ImageContent: everything of an image but its layers' bytes, from a registry or an archive,
// verified.
#pragma once

#include <string>
#include <vector>

#include "lib/image/layer_pool.h"

namespace berth::image {

struct ImageContent {
  std::string config_bytes;
  std::string manifest_bytes;       // empty: it came without one
  bool is_artifact = false;         // see artifact.h
  std::string id;                   // 64 hex: sha256 of config_bytes; of an artifact, its manifest
  std::vector<LayerSource> layers;  // base first
  std::vector<std::string> repo_tags;
  std::vector<std::string> repo_digests;  // never empty
  // Only `id` is set: an image that is here whole, under the very name that was asked for.
  bool is_present = false;
  std::vector<std::string> skipped;  // the other platforms that the archive has of this image
};

}  // namespace berth::image
