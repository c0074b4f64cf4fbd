#include "lib/image/archive_export.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>

#include "fmt/format.h"

#include "lib/archive/gzip_writer.h"
#include "lib/archive/layer_recipe.h"
#include "lib/archive/tar_writer.h"
#include "lib/base/beneath.h"
#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/image/artifact.h"
#include "lib/oci/image.h"
#include "lib/oci/json.h"
#include "lib/oci/sha256.h"

namespace berth::image {

namespace {

using Sink = std::function<absl::Status(std::string_view piece)>;
using nlohmann::json;

constexpr size_t kPiece = 256 << 10;
constexpr char kLayerType[] = "application/vnd.oci.image.layer.v1.tar";

// Bytes of the archive, by digest: in memory, or given when they are asked for.
struct Blob {
  uint64_t size = 0;
  std::function<absl::Status(const base::OpContext& ctx, const Sink& sink)> give;
};
using Blobs = std::map<oci::Digest, Blob>;

std::string PathOf(const oci::Digest& digest) {
  std::string path = "blobs/" + digest.ToString();
  path[path.find(':')] = '/';
  return path;
}

oci::Digest AddBytes(Blobs& blobs, std::string bytes) {
  const oci::Digest digest = oci::DigestOf(bytes);
  const uint64_t size = bytes.size();
  blobs[digest] = {size, [bytes = std::move(bytes)](const base::OpContext&, const Sink& sink) {
                     return sink(bytes);
                   }};
  return digest;
}

std::string Dump(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

json Descriptor(const std::string& media_type, const oci::Digest& digest, uint64_t size) {
  return {{"mediaType", media_type}, {"digest", digest.ToString()}, {"size", size}};
}

absl::Status GiveLayer(const base::OpContext& ctx, const ExportSource& source, int64_t number,
                       bool compress, const Sink& sink) {
  ASSIGN_OR_RETURN(const base::UniqueFd root, source.snapshotter.OpenLayerDir(number));
  const std::string recipe_path = fmt::format("{}/{}", source.recipes_path, number);
  const auto recipe = base::OpenFile(recipe_path, O_RDONLY | O_NOFOLLOW);
  if (absl::IsNotFound(recipe.status())) {
    return absl::FailedPreconditionError(
        fmt::format("there is no recipe '{}': the layer was unpacked by an older berthd; remove "
                    "the image and pull it again",
                    recipe_path));
  }
  RETURN_IF_ERROR(recipe.status());
  if (!compress) {
    return archive::AssembleLayer(ctx, root.get(), recipe->get(), sink);
  }
  archive::GzipWriter gzip(sink);
  RETURN_IF_ERROR(archive::AssembleLayer(
      ctx, root.get(), recipe->get(), [&](std::string_view piece) { return gzip.Write(piece); }));
  return gzip.Finish();
}

absl::Status GiveFile(const base::OpContext& ctx, const ExportSource& source, int64_t number,
                      const std::string& path, const Sink& sink) {
  ASSIGN_OR_RETURN(const base::UniqueFd root, source.snapshotter.OpenLayerDir(number));
  ASSIGN_OR_RETURN(const base::UniqueFd fd,
                   base::OpenBeneath(root.get(), path, O_RDONLY | O_NOFOLLOW));
  const std::unique_ptr<char[]> buffer(new char[kPiece]);
  while (true) {
    RETURN_IF_ERROR(ctx.Check());
    const ssize_t n = ::read(fd.get(), buffer.get(), kPiece);
    if (n < 0) {
      return base::ErrnoStatus(errno, fmt::format("read '{}'", path));
    }
    if (n == 0) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(sink({buffer.get(), static_cast<size_t>(n)}));
  }
}

// Size and digest of what `give` gives.
absl::StatusOr<std::pair<uint64_t, oci::Digest>> Measure(
    const base::OpContext& ctx, const oci::DigestAlgorithm algorithm,
    const std::function<absl::Status(const base::OpContext& ctx, const Sink& sink)>& give) {
  uint64_t size = 0;
  oci::Hasher hash(algorithm);
  RETURN_IF_ERROR(give(ctx, [&](std::string_view piece) {
    size += piece.size();
    hash.Update({piece.data(), piece.size()});
    return absl::OkStatus();
  }));
  return std::make_pair(size, hash.Finish());
}

class Exporter {
 public:
  Exporter(const base::OpContext& ctx, const ExportSource& source, const ExportOptions& options)
      : ctx_(ctx), source_(source), options_(options) {}

  absl::Status Add(const model::ImageRecord& image) {
    if (image.is_artifact) {
      return AddArtifact(image);
    }
    return options_.format == ExportOptions::Format::kDocker ? AddDocker(image) : AddOci(image);
  }

  absl::Status Write(const Sink& sink) {
    archive::TarWriter tar(sink);
    if (options_.format == ExportOptions::Format::kDocker) {
      RETURN_IF_ERROR(tar.File("manifest.json", Dump(docker_)));
    } else {
      RETURN_IF_ERROR(tar.File("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
      const json index = {
          {"schemaVersion", 2}, {"mediaType", oci::kOciIndexType}, {"manifests", manifests_}};
      RETURN_IF_ERROR(tar.File("index.json", Dump(index)));
      RETURN_IF_ERROR(tar.Directory("blobs/"));
      RETURN_IF_ERROR(tar.Directory("blobs/sha256/"));
    }
    for (const auto& [digest, blob] : blobs_) {
      RETURN_IF_ERROR(WriteBlob(tar, digest, blob));
    }
    return tar.Finish();
  }

 private:
  absl::Status WriteBlob(archive::TarWriter& tar, const oci::Digest& digest, const Blob& blob) {
    const auto name = docker_names_.find(digest);
    RETURN_IF_ERROR(
        tar.BeginFile(name != docker_names_.end() ? name->second : PathOf(digest), blob.size));
    oci::Hasher hash(digest.algorithm());
    RETURN_IF_ERROR(blob.give(ctx_, [&](std::string_view piece) {
      hash.Update({piece.data(), piece.size()});
      return tar.Write(piece);
    }));
    return hash.Finish() == digest
               ? absl::OkStatus()
               : absl::DataLossError(
                     fmt::format("blob '{}' changed while it was written", digest.ToString()));
  }

  // The layer at `position` of the config; its blob's digest.
  absl::StatusOr<oci::Digest> AddLayer(const model::ImageRecord& image, size_t position) {
    const int64_t number = image.layers[image.layers.size() - 1 - position];
    const auto known = layers_.find(number);
    if (known != layers_.end()) {
      return known->second;
    }
    ASSIGN_OR_RETURN(const oci::Digest diff_id, oci::Digest::Parse(image.diff_ids[position]));
    const auto give = [this, number](bool compress) {
      return [this, number, compress](const base::OpContext& ctx, const Sink& sink) {
        return GiveLayer(ctx, source_, number, compress, sink);
      };
    };
    const std::string what = fmt::format("layer {} ('{}')", number, diff_id.ToString());
    auto measured = Measure(ctx_, diff_id.algorithm(), give(false));
    RETURN_IF_ERROR(base::Annotate(measured.status(), what));
    if (measured->second != diff_id) {
      return absl::DataLossError(
          fmt::format("{}: its files are not what was unpacked; `berthctl check --layers --repair` "
                      "forgets the image, so that it can be pulled again",
                      what));
    }
    if (options_.compress) {
      measured = Measure(ctx_, oci::DigestAlgorithm::kSha256, give(true));
      RETURN_IF_ERROR(base::Annotate(measured.status(), what));
    }
    blobs_[measured->second] = {measured->first, give(options_.compress)};
    layers_[number] = measured->second;
    return measured->second;
  }

  absl::Status AddOci(const model::ImageRecord& image) {
    const oci::Digest config = AddBytes(blobs_, image.config);
    json manifest = {{"schemaVersion", 2},
                     {"mediaType", oci::kOciManifestType},
                     {"config", Descriptor(oci::kOciConfigType, config, image.config.size())},
                     {"layers", json::array()}};
    for (size_t i = 0; i < image.layers.size(); ++i) {
      ASSIGN_OR_RETURN(const oci::Digest layer, AddLayer(image, i));
      manifest["layers"].push_back(
          Descriptor(fmt::format("{}{}", kLayerType, options_.compress ? "+gzip" : ""), layer,
                     blobs_[layer].size));
    }
    if (!image.annotations.empty()) {
      manifest["annotations"] = image.annotations;
    }
    AddManifest(image, oci::kOciManifestType, Dump(manifest));
    return absl::OkStatus();
  }

  void AddManifest(const model::ImageRecord& image, const std::string& type, std::string manifest) {
    const uint64_t size = manifest.size();
    json entry = Descriptor(type, AddBytes(blobs_, std::move(manifest)), size);
    std::vector<std::string> names = image.repo_tags;
    if (names.empty()) {
      names.push_back(image.repo_digests.empty() ? "" : image.repo_digests.front());
    }
    for (const std::string& name : names) {
      entry["annotations"] = {{"io.containerd.image.name", name},
                              {"org.opencontainers.image.ref.name", name}};
      manifests_.push_back(entry);
    }
  }

  absl::Status AddDocker(const model::ImageRecord& image) {
    json layers = json::array();
    for (size_t i = 0; i < image.layers.size(); ++i) {
      ASSIGN_OR_RETURN(const oci::Digest layer, AddLayer(image, i));
      docker_names_[layer] = layer.hex() + ".tar";
      layers.push_back(docker_names_[layer]);
    }
    docker_names_[AddBytes(blobs_, image.config)] = image.id + ".json";
    docker_.push_back(
        {{"Config", image.id + ".json"}, {"RepoTags", image.repo_tags}, {"Layers", layers}});
    return absl::OkStatus();
  }

  absl::Status AddArtifact(const model::ImageRecord& image) {
    if (options_.format == ExportOptions::Format::kDocker) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' is an OCI artifact, which a docker-archive cannot hold", image.id));
    }
    ASSIGN_OR_RETURN(std::string bytes, source_.store.Manifest(image.id));
    ASSIGN_OR_RETURN(const auto document, oci::ParseManifest(bytes, ""));
    const auto* manifest = std::get_if<oci::ImageManifest>(&document);
    if (manifest == nullptr) {
      return absl::DataLossError(fmt::format("the manifest of '{}' is none", image.id));
    }
    ASSIGN_OR_RETURN(const std::vector<ArtifactFile> files, ArtifactFiles(*manifest));
    if (files.size() != image.layers.size()) {
      return absl::DataLossError(fmt::format("'{}' does not have all of its files", image.id));
    }
    blobs_[manifest->config.digest] = {
        image.config.size(),
        [bytes = image.config](const base::OpContext&, const Sink& sink) { return sink(bytes); }};
    for (size_t i = 0; i < files.size(); ++i) {
      const int64_t number = image.layers[image.layers.size() - 1 - i];
      const auto give = [this, number, path = files[i].path](const base::OpContext& ctx,
                                                             const Sink& sink) {
        return GiveFile(ctx, source_, number, path, sink);
      };
      ASSIGN_OR_RETURN(const auto measured, Measure(ctx_, files[i].blob.digest.algorithm(), give));
      if (measured.second != files[i].blob.digest) {
        return absl::DataLossError(
            fmt::format("file '{}' of '{}' is not what its digest says", files[i].path, image.id));
      }
      blobs_[measured.second] = {measured.first, give};
    }
    AddManifest(image, manifest->media_type, std::move(bytes));
    return absl::OkStatus();
  }

  const base::OpContext& ctx_;
  const ExportSource& source_;
  const ExportOptions& options_;
  Blobs blobs_;
  std::map<int64_t, oci::Digest> layers_;            // blobs by the layers' numbers
  std::map<oci::Digest, std::string> docker_names_;  // of blobs in a docker-archive
  json manifests_ = json::array();
  json docker_ = json::array();
};

}  // namespace

absl::Status ExportArchive(const base::OpContext& ctx, const ExportSource& source,
                           const std::vector<ImageLease>& images, const ExportOptions& options,
                           const Sink& sink) {
  if (images.empty()) {
    return absl::InvalidArgumentError("no image is named");
  }
  if (options.compress && options.format == ExportOptions::Format::kDocker) {
    return absl::InvalidArgumentError("a docker-archive has plain layers");
  }
  Exporter exporter(ctx, source, options);
  std::map<std::string, bool> seen;
  for (const ImageLease& image : images) {
    if (seen.emplace(image.image().id, true).second) {
      RETURN_IF_ERROR(
          base::Annotate(exporter.Add(image.image()), fmt::format("image '{}'", image.image().id)));
    }
  }
  return exporter.Write(sink);
}

}  // namespace berth::image
