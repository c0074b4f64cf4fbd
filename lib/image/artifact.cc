#include "lib/image/artifact.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_split.h"
#include "fmt/format.h"

#include "lib/archive/tar_writer.h"
#include "lib/base/status.h"
#include "lib/oci/printable.h"
#include "lib/oci/sha256.h"

namespace berth::image {

namespace {

constexpr char kTitle[] = "org.opencontainers.image.title";
constexpr char kEarlyConfigType[] = "application/octet-stream";

bool HasLayersOnly(const oci::ImageManifest& manifest) {
  return std::all_of(
      manifest.layers.begin(), manifest.layers.end(),
      [](const oci::Descriptor& layer) { return oci::IsLayerType(layer.media_type); });
}

absl::Status CheckPath(const std::string& path) {
  const auto refuse = [&](const char* why) {
    return absl::InvalidArgumentError(
        fmt::format("the artifact's file name '{}' {}", oci::Printable(path, 100), why));
  };
  if (path.size() > kMaxArtifactPath) {
    return absl::OutOfRangeError(fmt::format("an artifact's file name has {} bytes, more than {}",
                                             path.size(), kMaxArtifactPath));
  }
  if (std::any_of(path.begin(), path.end(),
                  [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return refuse("has control characters");
  }
  size_t depth = 0;
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == "..") {
      return refuse("is not a plain relative path");
    }
    if (part.substr(0, 4) == ".wh.") {
      return refuse("has a part that begins with '.wh.', which layers take for a whiteout");
    }
    if (part.size() > 255) {
      return refuse("has a part of more than 255 bytes");
    }
    if (++depth > kMaxArtifactDepth) {
      return absl::OutOfRangeError(
          fmt::format("an artifact's file lies in more than {} directories", kMaxArtifactDepth));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsArtifact(const oci::ImageManifest& manifest) {
  const std::string& type = manifest.config.media_type;
  if (type == oci::kOciConfigType || type == oci::kDockerConfigType) {
    return !manifest.artifact_type.empty() && !HasLayersOnly(manifest);
  }
  return type != kEarlyConfigType || !manifest.artifact_type.empty() || !HasLayersOnly(manifest);
}

absl::StatusOr<std::vector<ArtifactFile>> ArtifactFiles(const oci::ImageManifest& manifest) {
  if (manifest.layers.size() > kMaxArtifactFiles) {
    return absl::OutOfRangeError(fmt::format("the artifact has {} files, more than {}",
                                             manifest.layers.size(), kMaxArtifactFiles));
  }
  std::vector<ArtifactFile> files;
  std::set<std::string> paths;
  for (const oci::Descriptor& blob : manifest.layers) {
    const auto title = blob.annotations.find(kTitle);
    std::string path = title != blob.annotations.end() ? title->second : blob.digest.ToString();
    if (title == blob.annotations.end()) {
      std::replace(path.begin(), path.end(), ':', '-');
    }
    RETURN_IF_ERROR(CheckPath(path));
    if (!paths.insert(path).second) {
      return absl::InvalidArgumentError(
          fmt::format("the artifact has two files of the name '{}'", oci::Printable(path, 100)));
    }
    files.push_back({std::move(path), blob});
  }
  for (const std::string& path : paths) {
    for (size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      if (paths.contains(path.substr(0, slash))) {
        return absl::InvalidArgumentError(
            fmt::format("'{}' is a file of the artifact and the directory of another",
                        oci::Printable(path.substr(0, slash), 100)));
      }
    }
  }
  return files;
}

LayerSource ArtifactLayer(
    const ArtifactFile& file,
    std::function<absl::Status(const base::OpContext& ctx, const ByteSink& sink)> fetch) {
  LayerSource source;
  source.diff_id = oci::DigestOf(
      fmt::format("file of an artifact\n{}\n{}", file.blob.digest.ToString(), file.path));
  source.is_named = true;
  source.name = file.blob.digest.ToString();
  source.fetch = [file, fetch = std::move(fetch)](const base::OpContext& ctx,
                                                  const ByteSink& sink) -> absl::Status {
    archive::TarWriter writer([&](std::string_view piece) {
      return sink({piece.data(), piece.size()});
    });
    // "./": no name looks like the first bytes of a compressed stream.
    RETURN_IF_ERROR(writer.BeginFile("./" + file.path, static_cast<uint64_t>(file.blob.size)));
    RETURN_IF_ERROR(fetch(ctx, [&](std::span<const char> piece) {
      return writer.Write(std::string_view(piece.data(), piece.size()));
    }));
    return writer.Finish();
  };
  return source;
}

}  // namespace berth::image
