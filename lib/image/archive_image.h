// Reads images' documents from an OCI image layout or a docker-archive, unpacked in a directory.
//
// An OCI layout wins where a directory is both (as `docker save` writes since version 25); names
// then come from its annotations (io.containerd.image.name, org.opencontainers.image.ref.name) or
// from manifest.json. A docker-archive has no manifest of the registry kind; the image's repo
// digest is that of an OCI manifest made up from its config and layers, which is the same on every
// node.
//
// The directory's content is hostile: files are opened with the directory as root, sizes are
// bounded, digests verified. Source: OCI image-spec v1.1 image-layout.md; the docker-archive format
// as `docker save` and skopeo write it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/unique_fd.h"
#include "lib/image/image_content.h"
#include "lib/oci/image.h"
#include "lib/oci/reference.h"

namespace berth::image {

// Every image for `platform`. `names` are given instead of those in the archive, which then must
// hold one image. The sources of the layers share `dir`. kInvalidArgument: neither format; an image
// without a name; kDataLoss: a digest is wrong.
absl::StatusOr<std::vector<ImageContent>> ReadArchiveImages(
    const base::OpContext& ctx, const std::shared_ptr<base::UniqueFd>& dir,
    const oci::Platform& platform, const std::vector<oci::Reference>& names);

}  // namespace berth::image
