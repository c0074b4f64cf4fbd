// Url: the parts of an http or https URL that decide about trust, by libcurl's own parser, so that
// what is checked is what is then fetched. Threads: a value.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace berth::registry {

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; "[::1]" for IPv6
  std::string port;    // always set
  std::string text;    // the whole URL, normalised

  // kInvalidArgument: not an absolute http(s) URL, or one with a user in it. Messages never show
  // the query.
  static absl::StatusOr<Url> Parse(std::string_view text);
  // A Location header's value, absolute or relative, as seen from this URL.
  absl::StatusOr<Url> Resolve(std::string_view location) const;

  // Credentials of one origin are not for another.
  bool SameOrigin(const Url& other) const {
    return scheme == other.scheme && host == other.host && port == other.port;
  }
  // "host:port", or "host" for the scheme's own port: a registry's name.
  std::string HostPort() const;
  // Without query, which may carry a signature: for messages.
  std::string ForMessage() const;
};

// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3).
std::string UrlEncode(std::string_view text);

}  // namespace berth::registry
