// Credentials: what a pull may identify itself with. From the CRI's AuthConfig (decoded by the
// caller) or from an auth file. Never printed: error texts and logs of this library go through
// Scrub(). Threads: a value.
#pragma once

#include <string>

namespace berth::registry {

struct Credentials {
  std::string username;
  std::string password;
  std::string identity_token;  // OAuth2 refresh token: exchanged for a bearer token at the
                               // registry's token server
  std::string registry_token;  // a bearer token, sent as it is

  bool empty() const {
    return username.empty() && password.empty() && identity_token.empty() && registry_token.empty();
  }
  bool operator==(const Credentials&) const = default;
};

}  // namespace berth::registry
