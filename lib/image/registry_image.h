// Reads an image's documents from a registry: index, manifest, config.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/image/image_content.h"
#include "lib/oci/reference.h"
#include "lib/registry/registry_client.h"

namespace berth::image {

// What is here under a full name ("quay.io/x/y:1"), and the digests it has in that repository: none
// when nothing is.
struct Present {
  std::string id;
  std::vector<oci::Digest> digests;
};
using FindPresent = std::function<Present(const oci::Reference& name)>;

// `reference` may be a short name: the registries that may mean are tried in order. The sources of
// the layers borrow `client`. Errors: RegistryClient's; kInvalidArgument: not an image for
// containers; kNotFound: nothing for this platform. When the registry says that the name still
// means what `find_present` knows, nothing more is asked of it (ImageContent::is_present).
absl::StatusOr<ImageContent> ReadRegistryImage(
    const base::OpContext& ctx, registry::RegistryClient& client, const oci::Platform& platform,
    const oci::Reference& reference, const std::optional<registry::Credentials>& credentials,
    const FindPresent& find_present);

}  // namespace berth::image
