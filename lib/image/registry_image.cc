#include "lib/image/registry_image.h"

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/image/artifact.h"
#include "lib/oci/sha256.h"

namespace berth::image {

namespace {

using registry::ImageSource;
using registry::RegistryClient;
using registry::ResolvedManifest;

struct Resolved {
  ResolvedManifest manifest;
  std::string present_id;  // of what was here under that name when the registry was asked
};

absl::StatusOr<Resolved> Resolve(const base::OpContext& ctx, RegistryClient& client,
                                 const oci::Reference& reference,
                                 const std::optional<registry::Credentials>& credentials,
                                 const FindPresent& find_present) {
  ASSIGN_OR_RETURN(const std::vector<oci::Reference> candidates,
                   client.conf()->Candidates(reference));
  absl::Status failure;
  for (const oci::Reference& candidate : candidates) {
    Present present = find_present(candidate);
    absl::StatusOr<ResolvedManifest> resolved =
        client.ResolveManifest(ctx, candidate, credentials, present.digests);
    if (resolved.ok()) {
      return Resolved{*std::move(resolved), std::move(present.id)};
    }
    // The first says most: it is what the node's configuration prefers. Unless it only says that it
    // has no such image.
    if (failure.ok() || (absl::IsNotFound(failure) && !absl::IsNotFound(resolved.status()))) {
      failure = resolved.status();
    }
    RETURN_IF_ERROR(ctx.Check());
  }
  return failure;
}

struct Manifest {
  oci::ImageManifest manifest;
  std::string bytes;
  std::vector<oci::Digest> digests;  // of the index it came by, and its own
};

absl::StatusOr<Manifest> ReadManifest(const base::OpContext& ctx, RegistryClient& client,
                                      const oci::Platform& platform,
                                      const ResolvedManifest& resolved) {
  ASSIGN_OR_RETURN(auto document, oci::ParseManifest(resolved.bytes, resolved.media_type));
  if (auto* manifest = std::get_if<oci::ImageManifest>(&document)) {
    return Manifest{std::move(*manifest), resolved.bytes, {resolved.digest}};
  }
  ASSIGN_OR_RETURN(const oci::Descriptor chosen,
                   oci::SelectPlatform(std::get<oci::ImageIndex>(document), platform));
  ASSIGN_OR_RETURN(const std::string bytes, client.FetchManifest(ctx, resolved.source, chosen));
  ASSIGN_OR_RETURN(document, oci::ParseManifest(bytes, chosen.media_type));
  if (auto* manifest = std::get_if<oci::ImageManifest>(&document)) {
    return Manifest{std::move(*manifest), bytes, {resolved.digest, chosen.digest}};
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is an index inside an index", chosen.digest.ToString()));
}

// Of an image: its layers. Of an artifact: its files.
absl::Status AddLayers(RegistryClient& client, const ImageSource& source,
                       const oci::ImageManifest& manifest, ImageContent& content) {
  const auto fetch = [&client, &source](const oci::Descriptor& blob) {
    return [&client, source, blob](const base::OpContext& ctx, const ByteSink& sink) {
      return client.FetchBlob(ctx, source, blob, sink);
    };
  };
  if (content.is_artifact) {
    ASSIGN_OR_RETURN(const std::vector<ArtifactFile> files, ArtifactFiles(manifest));
    for (const ArtifactFile& file : files) {
      content.layers.push_back(ArtifactLayer(file, fetch(file.blob)));
    }
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const oci::ImageConfig config, oci::ParseImageConfig(content.config_bytes));
  RETURN_IF_ERROR(oci::CheckLayersMatch(manifest, config));
  for (size_t i = 0; i < config.diff_ids.size(); ++i) {
    const oci::Descriptor& layer = manifest.layers[i];
    RETURN_IF_ERROR(oci::CompressionOf(layer.media_type).status());
    content.layers.push_back(
        {.diff_id = config.diff_ids[i], .name = layer.digest.ToString(), .fetch = fetch(layer)});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageContent> ReadRegistryImage(
    const base::OpContext& ctx, RegistryClient& client, const oci::Platform& platform,
    const oci::Reference& reference, const std::optional<registry::Credentials>& credentials,
    const FindPresent& find_present) {
  ASSIGN_OR_RETURN(const Resolved answer,
                   Resolve(ctx, client, reference, credentials, find_present));
  const ResolvedManifest& resolved = answer.manifest;
  ImageContent content;
  if (resolved.is_known) {
    content.id = answer.present_id;
    content.is_present = true;
    return content;
  }
  ASSIGN_OR_RETURN(const Manifest found, ReadManifest(ctx, client, platform, resolved));
  const ImageSource& source = resolved.source;
  content.is_artifact = IsArtifact(found.manifest);
  content.manifest_bytes = found.bytes;
  ASSIGN_OR_RETURN(content.config_bytes, client.FetchConfig(ctx, source, found.manifest.config));
  content.id =
      oci::DigestOf(content.is_artifact ? content.manifest_bytes : content.config_bytes).hex();
  RETURN_IF_ERROR(AddLayers(client, source, found.manifest, content));
  if (!source.reference.tag().empty()) {
    content.repo_tags.push_back(source.reference.ToString());
  }
  for (const oci::Digest& digest : found.digests) {
    content.repo_digests.push_back(source.reference.WithDigest(digest).ToString());
  }
  return content;
}

}  // namespace berth::image
