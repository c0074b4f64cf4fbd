// Export: images as an archive that berth, skopeo, umoci, ctr, podman and docker read: an OCI image
// layout in a tar (default), or a docker-archive.
//
// Configs are the bytes that were pulled, and each layer is the tar stream that was unpacked, byte
// for byte (archive::AssembleLayer), plain or compressed anew by gzip: ids and DiffIDs stay what
// they are. The manifest cannot: the registry's names blobs as they were compressed there, which
// berth does not keep. It is made anew, with the annotations of the first, so the digest is another
// one, and an import gives the image a repo digest that no registry knows. An artifact's manifest
// and blobs are the original ones.
//
// Each layer is assembled twice: once for the size and digest that come before it in the archive,
// by which a damaged one is found before anything is given out, and once to be written.
//
// Threads: blocking; no state. Source: OCI image-spec v1.1 image-layout.md; the docker-archive
// format as `docker save` writes it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "lib/base/op_context.h"
#include "lib/image/image_service.h"
#include "lib/snapshot/overlay_snapshotter.h"
#include "lib/store/image_store.h"

namespace berth::image {

struct ExportSource {
  snapshot::OverlaySnapshotter& snapshotter;
  store::ImageStore& store;
  std::string recipes_path;
};

// kInvalidArgument: no image; what a docker-archive cannot hold. kFailedPrecondition: a layer
// without a recipe. kDataLoss: a layer is damaged (named). Others: the sink's, the context's.
absl::Status ExportArchive(const base::OpContext& ctx, const ExportSource& source,
                           const std::vector<ImageLease>& images, const ExportOptions& options,
                           const std::function<absl::Status(std::string_view piece)>& sink);

}  // namespace berth::image
