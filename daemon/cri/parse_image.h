// Image names and credentials of the ImageService's requests.
// Threads: pure functions. Errors: kInvalidArgument naming the field; never a credential.
// Source: CRI v1 ImageSpec, AuthConfig.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "daemon/cri/cri_api.h"
#include "lib/registry/credentials.h"

namespace berth::cri {

// ImageSpec.image, which must be there. Whether it is a reference or an id is ImageService's to
// say. The other fields say nothing that a pull or a look-up needs: annotations,
// user_specified_image, image_ref; runtime_handler, because images are the same for all.
absl::StatusOr<std::string> ParseImageName(const api::ImageSpec& image);

// nullopt: none given. `auth` (base64 of "username:password") counts when username is empty.
// The credentials go to the image's own registry, which CheckServerAddress compares.
absl::StatusOr<std::optional<registry::Credentials>> ParseAuth(const api::AuthConfig& auth);

// Credentials that are said to be for another registry than the image's are not sent there:
// kInvalidArgument. A short name belongs to no registry yet, and passes.
absl::Status CheckServerAddress(const std::string& server_address, const std::string& image);

}  // namespace berth::cri
