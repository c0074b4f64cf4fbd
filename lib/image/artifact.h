// OCI artifacts: manifests whose content is files, and no root file system (models, policies,
// charts). berth stores one as a tree of its blobs, each under the name that the annotation
// org.opencontainers.image.title gives it, which containers can mount as an image volume.
//
// Each blob is a layer of its own with one file in it, so that blobs are fetched side by side, kept
// once whoever has them, and mounted as the layers of an image are. A blob is never unpacked, also
// when it is an archive.
//
// Names come from a registry and are hostile: see CheckFiles. Source: OCI image-spec v1.1
// manifest.md ("Guidelines for Artifact Usage") and annotations.md. Threads: pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/image/layer_pool.h"
#include "lib/oci/image.h"

namespace berth::image {

inline constexpr size_t kMaxArtifactFiles = 256;  // overlayfs mounts some 450 layers
inline constexpr size_t kMaxArtifactPath = 1024;  // bytes of one name
inline constexpr size_t kMaxArtifactDepth = 32;   // names in it

// No image: its config is none. Nor is one that says an artifactType and has layers that are no
// root file system's. A config of the type that early Docker versions gave theirs
// (application/octet-stream) is an image's where nothing says that it is an artifact.
bool IsArtifact(const oci::ImageManifest& manifest);

struct ArtifactFile {
  std::string path;  // relative, clean
  oci::Descriptor blob;
};

// A blob without a title is called after its digest: "sha256-<hex>". kInvalidArgument: a name that
// is absolute, has empty, "." or ".." parts, control characters or a part beginning with ".wh."
// (layers would take it for a whiteout); two blobs of one name, or one named as another's
// directory. kOutOfRange: a limit above.
absl::StatusOr<std::vector<ArtifactFile>> ArtifactFiles(const oci::ImageManifest& manifest);

// The layer of one file. `fetch` gives the blob, whole and verified when it returns OK. Its name in
// place of a DiffID follows from path and digest, and is no digest of any content.
LayerSource ArtifactLayer(
    const ArtifactFile& file,
    std::function<absl::Status(const base::OpContext& ctx, const ByteSink& sink)> fetch);

}  // namespace berth::image
