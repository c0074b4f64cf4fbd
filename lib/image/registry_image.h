// Reads an image's documents from a registry: index, manifest, config.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/image/image_content.h"
#include "lib/oci/reference.h"
#include "lib/registry/registry_client.h"

namespace berth::image {

// `reference` may be a short name: the registries that may mean are tried in order. The sources of
// the layers borrow `client`. Errors: RegistryClient's; kInvalidArgument: not an image for
// containers; kNotFound: nothing for this platform.
absl::StatusOr<ImageContent> ReadRegistryImage(
    const base::OpContext& ctx, registry::RegistryClient& client, const oci::Platform& platform,
    const oci::Reference& reference, const std::optional<registry::Credentials>& credentials);

}  // namespace berth::image
