#include "lib/image/archive_image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>

#include "fmt/format.h"

#include "lib/base/beneath.h"
#include "lib/base/status.h"
#include "lib/image/artifact.h"
#include "lib/oci/json.h"
#include "lib/oci/sha256.h"

namespace berth::image {

namespace {

using Dir = std::shared_ptr<base::UniqueFd>;

constexpr size_t kPiece = 256 << 10;
constexpr size_t kMaxImages = 1000;
constexpr char kContainerdName[] = "io.containerd.image.name";
constexpr char kOciName[] = "org.opencontainers.image.ref.name";

std::string BlobPath(const oci::Digest& digest) {
  return fmt::format("blobs/{}/{}",
                     digest.algorithm() == oci::DigestAlgorithm::kSha256 ? "sha256" : "sha512",
                     digest.hex());
}

absl::StatusOr<std::string> ReadBlob(const Dir& dir, const oci::Descriptor& blob,
                                     size_t max_bytes) {
  ASSIGN_OR_RETURN(std::string bytes,
                   base::ReadFileInRoot(dir->get(), BlobPath(blob.digest), max_bytes));
  if (oci::DigestOf(bytes, blob.digest.algorithm()) != blob.digest) {
    return absl::DataLossError(
        fmt::format("blob '{}' has other content than its name says", blob.digest.ToString()));
  }
  return bytes;
}

absl::Status Stream(const base::OpContext& ctx, int fd, const std::string& name,
                    const ByteSink& sink) {
  const std::unique_ptr<char[]> buffer(new char[kPiece]);
  while (true) {
    RETURN_IF_ERROR(ctx.Check());
    const ssize_t n = ::read(fd, buffer.get(), kPiece);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return base::ErrnoStatus(errno, fmt::format("read '{}'", name));
    }
    if (n == 0) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(sink({buffer.get(), static_cast<size_t>(n)}));
  }
}

absl::StatusOr<base::UniqueFd> OpenRegular(const Dir& dir, const std::string& path) {
  ASSIGN_OR_RETURN(base::UniqueFd fd, base::OpenInRoot(dir->get(), path, O_RDONLY | O_NONBLOCK));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("'{}' is not a regular file", path));
  }
  return fd;
}

// Gives a file. `digest`: what it must be, where that is known.
std::function<absl::Status(const base::OpContext&, const ByteSink&)> FileSource(
    const Dir& dir, const std::string& path, const std::optional<oci::Digest>& digest) {
  return [dir, path, digest](const base::OpContext& ctx, const ByteSink& sink) -> absl::Status {
    ASSIGN_OR_RETURN(const base::UniqueFd fd, OpenRegular(dir, path));
    oci::Hasher hash(digest.has_value() ? digest->algorithm() : oci::DigestAlgorithm::kSha256);
    RETURN_IF_ERROR(Stream(ctx, fd.get(), path, [&](std::span<const char> piece) {
      hash.Update(piece);
      return sink(piece);
    }));
    if (digest.has_value() && hash.Finish() != *digest) {
      return absl::DataLossError(
          fmt::format("blob '{}' has other content than its name says", digest->ToString()));
    }
    return absl::OkStatus();
  };
}

LayerSource FileLayer(const Dir& dir, const std::string& path, const oci::Digest& diff_id,
                      const std::optional<oci::Digest>& digest) {
  return {.diff_id = diff_id,
          .name = digest.has_value() ? digest->ToString() : diff_id.ToString(),
          .fetch = FileSource(dir, path, digest)};
}

void Name(const std::vector<oci::Reference>& names, const std::vector<oci::Digest>& digests,
          ImageContent& content) {
  for (const oci::Reference& name : names) {
    if (!name.tag().empty()) {
      content.repo_tags.push_back(name.ToString());
    }
    for (const oci::Digest& digest : digests) {
      content.repo_digests.push_back(name.WithDigest(digest).ToString());
    }
  }
}

// One image of a docker-archive's manifest.json.
struct DockerEntry {
  std::string config;
  std::vector<std::string> tags;
  std::vector<std::string> layers;
};

// kNotFound: there is no manifest.json.
absl::StatusOr<std::vector<DockerEntry>> ReadDockerEntries(const Dir& dir) {
  ASSIGN_OR_RETURN(const std::string text,
                   base::ReadFileInRoot(dir->get(), "manifest.json", oci::kMaxManifestBytes));
  ASSIGN_OR_RETURN(nlohmann::json list, oci::ParseJson(text, oci::kMaxJsonDepth));
  nlohmann::json wrapped = nlohmann::json::object();
  wrapped["manifest.json"] = std::move(list);
  ASSIGN_OR_RETURN(const oci::JsonObject root, oci::JsonObject::Root(wrapped));
  ASSIGN_OR_RETURN(const std::vector<oci::JsonObject> objects,
                   root.Objects("manifest.json", kMaxImages));
  std::vector<DockerEntry> entries;
  for (const oci::JsonObject& object : objects) {
    DockerEntry entry;
    ASSIGN_OR_RETURN(entry.config, object.String("Config"));
    ASSIGN_OR_RETURN(entry.tags, object.Strings("RepoTags"));
    ASSIGN_OR_RETURN(entry.layers, object.Strings("Layers"));
    entries.push_back(std::move(entry));
  }
  return entries;
}

absl::StatusOr<std::vector<oci::Reference>> ParseNames(const std::vector<std::string>& texts) {
  std::vector<oci::Reference> names;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(oci::Reference name, oci::Reference::Parse(text));
    names.push_back(std::move(name));
  }
  return names;
}

absl::Status NoName() {
  return absl::InvalidArgumentError("the archive has an image without a name: give one");
}

absl::StatusOr<ImageContent> ReadDockerImage(const Dir& dir, const DockerEntry& entry,
                                             const std::vector<oci::Reference>& names) {
  ImageContent content;
  ASSIGN_OR_RETURN(content.config_bytes,
                   base::ReadFileInRoot(dir->get(), entry.config, oci::kMaxConfigBytes));
  ASSIGN_OR_RETURN(const oci::ImageConfig config, oci::ParseImageConfig(content.config_bytes));
  const oci::Digest config_digest = oci::DigestOf(content.config_bytes);
  content.id = config_digest.hex();
  if (config.diff_ids.size() != entry.layers.size()) {
    return absl::InvalidArgumentError(fmt::format("image '{}' has {} layers; its config has {}",
                                                  content.id, entry.layers.size(),
                                                  config.diff_ids.size()));
  }
  nlohmann::json manifest = {{"schemaVersion", 2},
                             {"mediaType", oci::kOciManifestType},
                             {"config",
                              {{"mediaType", oci::kOciConfigType},
                               {"digest", config_digest.ToString()},
                               {"size", content.config_bytes.size()}}},
                             {"layers", nlohmann::json::array()}};
  for (size_t i = 0; i < entry.layers.size(); ++i) {
    ASSIGN_OR_RETURN(const base::UniqueFd fd, OpenRegular(dir, entry.layers[i]));
    content.layers.push_back(FileLayer(dir, entry.layers[i], config.diff_ids[i], std::nullopt));
    manifest["layers"].push_back({{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                                  {"digest", config.diff_ids[i].ToString()}});
  }
  const std::string text = manifest.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  absl::StatusOr<std::vector<oci::Reference>> own = names.empty() ? ParseNames(entry.tags) : names;
  RETURN_IF_ERROR(own.status());
  if (own->empty()) {
    return NoName();
  }
  Name(*own, {oci::DigestOf(text)}, content);
  return content;
}

// The entry's image for `platform`: its manifest, and the digests it is known by.
struct Chosen {
  oci::ImageManifest manifest;
  std::string bytes;
  std::vector<oci::Digest> digests;
  std::vector<std::string> skipped;
};

// The platforms of an index beside the chosen one. Attestations call theirs unknown.
std::vector<std::string> OtherPlatforms(const oci::ImageIndex& index,
                                        const oci::Descriptor& chosen) {
  std::vector<std::string> others;
  for (const oci::Descriptor& entry : index.manifests) {
    if (entry.digest != chosen.digest && entry.platform.has_value() &&
        entry.platform->os != "unknown") {
      others.push_back(entry.platform->ToString());
    }
  }
  return others;
}

absl::StatusOr<Chosen> ChooseManifest(const Dir& dir, const oci::Descriptor& entry,
                                      const oci::Platform& platform) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadBlob(dir, entry, oci::kMaxManifestBytes));
  ASSIGN_OR_RETURN(auto document, oci::ParseManifest(bytes, entry.media_type));
  if (auto* manifest = std::get_if<oci::ImageManifest>(&document)) {
    return Chosen{std::move(*manifest), bytes, {entry.digest}, {}};
  }
  const auto& index = std::get<oci::ImageIndex>(document);
  ASSIGN_OR_RETURN(const oci::Descriptor inner, oci::SelectPlatform(index, platform));
  const std::vector<std::string> skipped = OtherPlatforms(index, inner);
  ASSIGN_OR_RETURN(const std::string inner_bytes, ReadBlob(dir, inner, oci::kMaxManifestBytes));
  ASSIGN_OR_RETURN(document, oci::ParseManifest(inner_bytes, inner.media_type));
  if (auto* manifest = std::get_if<oci::ImageManifest>(&document)) {
    return Chosen{std::move(*manifest), inner_bytes, {entry.digest, inner.digest}, skipped};
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is an index inside an index", inner.digest.ToString()));
}

// Entries of one name are the platforms of one image.
absl::StatusOr<Chosen> ChooseOfName(const Dir& dir, const oci::ImageIndex& entries,
                                    const oci::Platform& platform) {
  oci::Descriptor entry = entries.manifests.front();
  std::vector<std::string> skipped;
  if (entries.manifests.size() > 1 || entry.platform.has_value()) {
    ASSIGN_OR_RETURN(entry, oci::SelectPlatform(entries, platform));
    skipped = OtherPlatforms(entries, entry);
  }
  ASSIGN_OR_RETURN(Chosen chosen, ChooseManifest(dir, entry, platform));
  chosen.skipped.insert(chosen.skipped.end(), skipped.begin(), skipped.end());
  return chosen;
}

absl::StatusOr<ImageContent> ReadOciImage(const Dir& dir, const Chosen& chosen) {
  ImageContent content;
  ASSIGN_OR_RETURN(content.config_bytes,
                   ReadBlob(dir, chosen.manifest.config, oci::kMaxConfigBytes));
  content.manifest_bytes = chosen.bytes;
  content.skipped = chosen.skipped;
  if (IsArtifact(chosen.manifest)) {
    content.is_artifact = true;
    content.id = oci::DigestOf(chosen.bytes).hex();
    ASSIGN_OR_RETURN(const std::vector<ArtifactFile> files, ArtifactFiles(chosen.manifest));
    for (const ArtifactFile& file : files) {
      content.layers.push_back(
          ArtifactLayer(file, FileSource(dir, BlobPath(file.blob.digest), file.blob.digest)));
    }
    return content;
  }
  ASSIGN_OR_RETURN(const oci::ImageConfig config, oci::ParseImageConfig(content.config_bytes));
  RETURN_IF_ERROR(oci::CheckLayersMatch(chosen.manifest, config));
  content.id = oci::DigestOf(content.config_bytes).hex();
  for (size_t i = 0; i < config.diff_ids.size(); ++i) {
    const oci::Descriptor& layer = chosen.manifest.layers[i];
    RETURN_IF_ERROR(oci::CompressionOf(layer.media_type).status());
    content.layers.push_back(
        FileLayer(dir, BlobPath(layer.digest), config.diff_ids[i], layer.digest));
  }
  return content;
}

// What the annotations of an entry call it. A bare tag names nothing without its repository.
std::string NameOf(const oci::Descriptor& entry) {
  for (const char* key : {kContainerdName, kOciName}) {
    const auto found = entry.annotations.find(key);
    if (found != entry.annotations.end() &&
        found->second.find_first_of(":/") != std::string::npos) {
      return found->second;
    }
  }
  return "";
}

// The tags that a manifest.json beside the layout gives to a config.
std::vector<std::string> DockerTags(const std::vector<DockerEntry>& entries,
                                    const std::string& image_id) {
  for (const DockerEntry& entry : entries) {
    if (entry.config.find(image_id) != std::string::npos) {
      return entry.tags;
    }
  }
  return {};
}

absl::StatusOr<std::vector<ImageContent>> ReadOciLayout(const Dir& dir,
                                                        const oci::Platform& platform,
                                                        const std::vector<oci::Reference>& names) {
  ASSIGN_OR_RETURN(const std::string text,
                   base::ReadFileInRoot(dir->get(), "index.json", oci::kMaxManifestBytes));
  ASSIGN_OR_RETURN(const auto document, oci::ParseManifest(text, oci::kOciIndexType));
  const auto* index = std::get_if<oci::ImageIndex>(&document);
  if (index == nullptr) {
    return absl::InvalidArgumentError("index.json is not an image index");
  }
  std::map<std::string, oci::ImageIndex> by_name;
  for (const oci::Descriptor& entry : index->manifests) {
    by_name[NameOf(entry)].manifests.push_back(entry);
  }
  const absl::StatusOr<std::vector<DockerEntry>> docker = ReadDockerEntries(dir);
  std::vector<ImageContent> images;
  for (const auto& [name, entries] : by_name) {
    absl::StatusOr<Chosen> chosen = ChooseOfName(dir, entries, platform);
    RETURN_IF_ERROR(base::Annotate(
        chosen.status(), name.empty() ? "image without a name" : fmt::format("image '{}'", name)));
    ASSIGN_OR_RETURN(ImageContent content, ReadOciImage(dir, *chosen));
    absl::StatusOr<std::vector<oci::Reference>> own = names;
    if (names.empty()) {
      own = ParseNames(!name.empty() ? std::vector<std::string>{name}
                       : docker.ok() ? DockerTags(*docker, content.id)
                                     : std::vector<std::string>{});
      RETURN_IF_ERROR(own.status());
    }
    if (own->empty()) {
      return NoName();
    }
    Name(*own, chosen->digests, content);
    images.push_back(std::move(content));
  }
  return images;
}

}  // namespace

absl::StatusOr<std::vector<ImageContent>> ReadArchiveImages(
    const base::OpContext& ctx, const std::shared_ptr<base::UniqueFd>& dir,
    const oci::Platform& platform, const std::vector<oci::Reference>& names) {
  RETURN_IF_ERROR(ctx.Check());
  absl::StatusOr<std::vector<ImageContent>> images = ReadOciLayout(dir, platform, names);
  if (absl::IsNotFound(images.status()) &&
      !base::OpenInRoot(dir->get(), "index.json", O_PATH).ok()) {
    const absl::StatusOr<std::vector<DockerEntry>> entries = ReadDockerEntries(dir);
    if (absl::IsNotFound(entries.status())) {
      return absl::InvalidArgumentError(
          "neither an OCI layout (index.json) nor a docker-archive (manifest.json)");
    }
    RETURN_IF_ERROR(entries.status());
    images = std::vector<ImageContent>();
    for (const DockerEntry& entry : *entries) {
      ASSIGN_OR_RETURN(ImageContent content, ReadDockerImage(dir, entry, names));
      images->push_back(std::move(content));
    }
  }
  RETURN_IF_ERROR(images.status());
  if (images->empty()) {
    return absl::InvalidArgumentError("the archive holds no image");
  }
  if (!names.empty() && images->size() != 1) {
    return absl::InvalidArgumentError(
        fmt::format("the archive holds {} images, so no name can be given", images->size()));
  }
  return images;
}

}  // namespace berth::image
