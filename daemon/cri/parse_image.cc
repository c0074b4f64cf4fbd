#include "daemon/cri/parse_image.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "fmt/format.h"

#include "daemon/cri/fields.h"
#include "daemon/cri/text.h"
#include "lib/base/status.h"
#include "lib/oci/reference.h"

namespace berth::cri {

namespace {

constexpr size_t kMaxSecretBytes = 64 << 10;

absl::Status CheckSecret(const char* field, const std::string& value) {
  return value.size() <= kMaxSecretBytes ? CheckNoNul(field, value)
                                         : FieldError(field, "is too long");
}

// Tokens are sent as they are: a line break would add headers of its own to the request.
absl::Status CheckToken(const char* field, const std::string& value) {
  return CheckWord(field, value, kMaxSecretBytes);
}

absl::Status DecodeAuth(const std::string& encoded, registry::Credentials& credentials) {
  std::string text;
  if (!absl::Base64Unescape(encoded, &text)) {
    return FieldError("auth.auth", "is not base64");
  }
  // Some clients pad the text with NUL bytes.
  text.erase(text.find_last_not_of('\0') + 1);
  const size_t colon = text.find(':');
  if (colon == std::string::npos) {
    return FieldError("auth.auth", "is not the base64 of 'username:password'");
  }
  credentials.username = text.substr(0, colon);
  credentials.password = text.substr(colon + 1);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ParseImageName(const api::ImageSpec& image) {
  RETURN_IF_ERROR(CheckName("image.image", image.image(), kMaxImageNameBytes));
  RETURN_IF_ERROR(ParseAnnotations("image.annotations", image.annotations()).status());
  RETURN_IF_ERROR(
      CheckWord("image.user_specified_image", image.user_specified_image(), kMaxImageNameBytes));
  RETURN_IF_ERROR(CheckWord("image.image_ref", image.image_ref(), kMaxImageNameBytes));
  // Every handler's containers stand on the same images.
  RETURN_IF_ERROR(CheckWord("image.runtime_handler", image.runtime_handler()));
  return image.image();
}

absl::Status CheckServerAddress(const std::string& server_address, const std::string& image) {
  RETURN_IF_ERROR(CheckWord("auth.server_address", server_address, kMaxImageNameBytes));
  const absl::StatusOr<oci::Reference> reference = oci::Reference::Parse(image);
  if (server_address.empty() || !reference.ok() || reference->is_short_name()) {
    return absl::OkStatus();
  }
  // "https://index.docker.io/v1/", as `docker login` writes it.
  const size_t scheme = server_address.find("://");
  std::string host = server_address.substr(scheme == std::string::npos ? 0 : scheme + 3);
  host = host.substr(0, host.find('/'));
  if (host == "index.docker.io" || host == "registry-1.docker.io") {
    host = "docker.io";
  }
  return host == reference->domain()
             ? absl::OkStatus()
             : FieldError("auth.server_address",
                          fmt::format("is '{}', but the image is of '{}'", OneLine(host, 128),
                                      reference->domain()));
}

absl::StatusOr<std::optional<registry::Credentials>> ParseAuth(const api::AuthConfig& auth) {
  registry::Credentials credentials{.username = auth.username(),
                                    .password = auth.password(),
                                    .identity_token = auth.identity_token(),
                                    .registry_token = auth.registry_token()};
  RETURN_IF_ERROR(CheckSecret("auth.auth", auth.auth()));
  if (credentials.username.empty() && !auth.auth().empty()) {
    RETURN_IF_ERROR(DecodeAuth(auth.auth(), credentials));
  }
  RETURN_IF_ERROR(CheckSecret("auth.username", credentials.username));
  RETURN_IF_ERROR(CheckSecret("auth.password", credentials.password));
  RETURN_IF_ERROR(CheckToken("auth.identity_token", credentials.identity_token));
  RETURN_IF_ERROR(CheckToken("auth.registry_token", credentials.registry_token));
  if (credentials.username.empty() && !credentials.password.empty()) {
    return FieldError("auth.password", "is set without a username");
  }
  if (credentials.empty()) {
    return std::nullopt;
  }
  return credentials;
}

}  // namespace berth::cri
