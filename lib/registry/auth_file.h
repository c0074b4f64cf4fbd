// Auth files: `auth.json` of containers and `config.json` of docker (containers-auth.json(5)).
//
//   {"auths": {"quay.io/team": {"auth": "<base64 of user:password>"},
//   "https://index.docker.io/v1/": {"identitytoken": "..."}}}
//
// The most specific key wins: host/path/to/repository, then each parent path, then the host. Keys
// as docker writes them, with a scheme or a path like /v1/, count for their host. Threads: pure
// functions; the file is read at every call, so it needs no reload.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "lib/registry/credentials.h"

namespace berth::registry {

// "" or an absent file has nothing for anybody. kInvalidArgument: malformed; messages do not show
// its content.
absl::StatusOr<std::optional<Credentials>> FindCredentials(const std::string& file,
                                                           const std::string& host,
                                                           const std::string& repository);
absl::StatusOr<std::optional<Credentials>> FindCredentialsIn(std::string_view json,
                                                             const std::string& host,
                                                             const std::string& repository);

// Base64 of "user:password", as in "auth" here and in the CRI's AuthConfig. kInvalidArgument does
// not show the text.
absl::StatusOr<Credentials> DecodeBasicAuth(std::string_view base64);

}  // namespace berth::registry
