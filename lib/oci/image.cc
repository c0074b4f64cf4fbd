#include "lib/oci/image.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/json.h"
#include "lib/oci/printable.h"

namespace berth::oci {

namespace {

constexpr std::string_view kSchema1Type = "application/vnd.docker.distribution.manifest.v1+json";
constexpr std::string_view kSchema1SignedType =
    "application/vnd.docker.distribution.manifest.v1+prettyjws";
// No blob is near this; beyond it sums would overflow.
constexpr int64_t kMaxBlobBytes = int64_t{1} << 48;

struct LayerType {
  std::string_view media_type;
  LayerCompression compression;
};
constexpr LayerType kLayerTypes[] = {
    {"application/vnd.oci.image.layer.v1.tar", LayerCompression::kNone},
    {"application/vnd.oci.image.layer.v1.tar+gzip", LayerCompression::kGzip},
    {"application/vnd.oci.image.layer.v1.tar+zstd", LayerCompression::kZstd},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar", LayerCompression::kNone},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", LayerCompression::kGzip},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", LayerCompression::kZstd},
    {"application/vnd.docker.image.rootfs.diff.tar", LayerCompression::kNone},
    {"application/vnd.docker.image.rootfs.diff.tar.gzip", LayerCompression::kGzip},
    {"application/vnd.docker.image.rootfs.diff.tar.zstd", LayerCompression::kZstd},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", LayerCompression::kGzip},
};

absl::Status Invalid(std::string_view message) {
  return base::MakeStatus(absl::StatusCode::kInvalidArgument, message);
}

const LayerType* FindLayerType(std::string_view media_type) {
  const auto* it =
      std::find_if(std::begin(kLayerTypes), std::end(kLayerTypes),
                   [&](const LayerType& candidate) { return candidate.media_type == media_type; });
  return it == std::end(kLayerTypes) ? nullptr : it;
}

absl::StatusOr<Platform> ParsePlatform(const JsonObject& json) {
  Platform platform;
  ASSIGN_OR_RETURN(platform.os, json.String("os"));
  ASSIGN_OR_RETURN(platform.architecture, json.String("architecture"));
  ASSIGN_OR_RETURN(platform.variant, json.String("variant"));
  ASSIGN_OR_RETURN(platform.os_version, json.String("os.version"));
  return platform;
}

absl::StatusOr<Descriptor> ParseDescriptor(const JsonObject& json) {
  Descriptor descriptor;
  ASSIGN_OR_RETURN(descriptor.media_type, json.String("mediaType"));
  if (descriptor.media_type.empty()) {
    return Invalid(fmt::format("'{}' is missing", json.PathOf("mediaType")));
  }
  ASSIGN_OR_RETURN(const std::string digest, json.String("digest"));
  auto parsed = Digest::Parse(digest);
  RETURN_IF_ERROR(base::Annotate(parsed.status(), fmt::format("'{}'", json.PathOf("digest"))));
  descriptor.digest = *std::move(parsed);
  ASSIGN_OR_RETURN(descriptor.size, json.Integer("size"));
  if (!json.Has("size") || descriptor.size < 0 || descriptor.size > kMaxBlobBytes) {
    return Invalid(fmt::format("'{}' is missing or not a size", json.PathOf("size")));
  }
  ASSIGN_OR_RETURN(descriptor.annotations, json.StringMap("annotations"));
  ASSIGN_OR_RETURN(descriptor.artifact_type, json.String("artifactType"));
  ASSIGN_OR_RETURN(auto platform, json.Object("platform"));
  if (platform) {
    ASSIGN_OR_RETURN(descriptor.platform, ParsePlatform(*platform));
  }
  return descriptor;
}

absl::StatusOr<ImageIndex> ParseIndex(const JsonObject& json, std::string media_type) {
  ImageIndex index;
  index.media_type = std::move(media_type);
  ASSIGN_OR_RETURN(const auto entries, json.Objects("manifests", kMaxIndexEntries));
  for (const JsonObject& entry : entries) {
    ASSIGN_OR_RETURN(Descriptor descriptor, ParseDescriptor(entry));
    index.manifests.push_back(std::move(descriptor));
  }
  ASSIGN_OR_RETURN(index.annotations, json.StringMap("annotations"));
  return index;
}

absl::StatusOr<ImageManifest> ParseImageManifest(const JsonObject& json, std::string media_type) {
  ImageManifest manifest;
  manifest.media_type = std::move(media_type);
  ASSIGN_OR_RETURN(const auto config, json.Object("config"));
  if (!config) {
    return Invalid("'config' is missing");
  }
  ASSIGN_OR_RETURN(manifest.config, ParseDescriptor(*config));
  ASSIGN_OR_RETURN(const auto layers, json.Objects("layers", kMaxLayers));
  for (const JsonObject& layer : layers) {
    ASSIGN_OR_RETURN(Descriptor descriptor, ParseDescriptor(layer));
    manifest.layers.push_back(std::move(descriptor));
  }
  ASSIGN_OR_RETURN(manifest.annotations, json.StringMap("annotations"));
  ASSIGN_OR_RETURN(manifest.artifact_type, json.String("artifactType"));
  return manifest;
}

// The document's type: what it says itself, else what it was called, else what its members show.
absl::StatusOr<std::string> DecideType(const JsonObject& json, std::string_view called) {
  ASSIGN_OR_RETURN(std::string own, json.String("mediaType"));
  const bool called_known = IsIndexType(called) || IsManifestType(called);
  if (called == kSchema1Type || called == kSchema1SignedType || own == kSchema1Type ||
      own == kSchema1SignedType || json.Has("fsLayers")) {
    return base::MakeStatus(
        absl::StatusCode::kUnimplemented,
        "the manifest is docker schema 1, which is not supported: push the image again with a "
        "current tool");
  }
  ASSIGN_OR_RETURN(const int64_t schema, json.Integer("schemaVersion"));
  if (schema != 2) {
    return Invalid(fmt::format("'schemaVersion' is {}, not 2", schema));
  }
  if (!own.empty() && called_known && own != called) {
    return Invalid(fmt::format("'mediaType' is '{}', but the document was announced as '{}'",
                               Printable(own, 100), called));
  }
  if (!own.empty()) {
    return own;
  }
  if (called_known) {
    return std::string(called);
  }
  return std::string(json.Has("manifests") ? kOciIndexType : kOciManifestType);
}

}  // namespace

bool IsIndexType(std::string_view media_type) {
  return media_type == kOciIndexType || media_type == kDockerIndexType;
}

bool IsManifestType(std::string_view media_type) {
  return media_type == kOciManifestType || media_type == kDockerManifestType;
}

bool IsLayerType(std::string_view media_type) { return FindLayerType(media_type) != nullptr; }

absl::StatusOr<LayerCompression> CompressionOf(std::string_view layer_media_type) {
  const LayerType* type = FindLayerType(layer_media_type);
  if (type != nullptr) {
    return type->compression;
  }
  const bool encrypted = layer_media_type.find("+encrypted") != std::string_view::npos;
  return Invalid(fmt::format(
      "'{}' is {}", Printable(layer_media_type, 100),
      encrypted ? "an encrypted layer, which is not supported" : "not a file system layer"));
}

int64_t ImageManifest::TotalSize() const {
  int64_t total = config.size;
  for (const Descriptor& layer : layers) {
    total += layer.size;
  }
  return total;
}

absl::StatusOr<std::variant<ImageIndex, ImageManifest>> ParseManifest(std::string_view bytes,
                                                                      std::string_view media_type) {
  if (bytes.size() > kMaxManifestBytes) {
    return base::MakeStatus(absl::StatusCode::kOutOfRange,
                            fmt::format("parse manifest: it has {} bytes, more than {}",
                                        bytes.size(), kMaxManifestBytes));
  }
  const auto parse = [&]() -> absl::StatusOr<std::variant<ImageIndex, ImageManifest>> {
    ASSIGN_OR_RETURN(const nlohmann::json document, ParseJson(bytes, kMaxJsonDepth));
    ASSIGN_OR_RETURN(const JsonObject json, JsonObject::Root(document));
    ASSIGN_OR_RETURN(const std::string type, DecideType(json, media_type));
    // CVE-2021-41190: two readers of one digest must not see two images.
    if (json.Has("manifests") && (json.Has("layers") || json.Has("config"))) {
      return Invalid("the document is both an index ('manifests') and a manifest ('layers')");
    }
    if (IsIndexType(type)) {
      if (!json.Has("manifests")) {
        return Invalid(fmt::format("'manifests' is missing from a '{}'", type));
      }
      ASSIGN_OR_RETURN(ImageIndex index, ParseIndex(json, type));
      return index;
    }
    if (IsManifestType(type)) {
      ASSIGN_OR_RETURN(ImageManifest manifest, ParseImageManifest(json, type));
      return manifest;
    }
    return Invalid(fmt::format("'mediaType' '{}' is neither an image manifest nor an index",
                               Printable(type, 100)));
  };
  auto result = parse();
  if (!result.ok()) {
    return base::Annotate(result.status(), "parse manifest");
  }
  return result;
}

absl::Status CheckLayersMatch(const ImageManifest& manifest, const ImageConfig& config) {
  if (manifest.layers.size() != config.diff_ids.size()) {
    return Invalid(fmt::format("the manifest has {} layers, but the config {} diff_ids",
                               manifest.layers.size(), config.diff_ids.size()));
  }
  return absl::OkStatus();
}

}  // namespace berth::oci
