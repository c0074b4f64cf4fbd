#include "daemon/cri/parse_image.h"

#include <utility>

#include "absl/strings/escaping.h"

#include "daemon/cri/fields.h"
#include "lib/base/status.h"

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
  return image.image();
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
