// One attempt at a request: the exchange with its redirects, and what its outcome means.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "lib/base/op_context.h"
#include "lib/registry/http_transport.h"
#include "lib/registry/url.h"

namespace berth::registry {

struct Attempt {
  absl::Status status;  // OK: a 2xx response, its body delivered
  HttpResponse response;
  bool answered = false;        // an HTTP response came, whatever it said
  bool crossed_origin = false;  // ... from another origin than was asked
  std::string moved_to;         // ... which was there, and may be there again for a while
  bool may_pass = false;        // the same request may succeed later
  bool unreachable = false;     // no connection; one repetition is enough to know
  bool by_sink =
      false;  // the body's receiver refused it, or the context ended: not the server's fault
  std::optional<absl::Duration> retry_after;
};

struct ExchangeOptions {
  std::vector<std::string> certs_dirs;
  bool insecure = false;  // certificates are not verified; redirects may lead from https to http
  std::function<absl::Time()> now = absl::Now;
  // Replaced by "***" wherever a server's words are quoted.
  std::vector<std::string> secrets;
};

inline constexpr int kMaxRedirects = 10;

// Performs the request, follows redirects (dropping Authorization at the first other origin; a
// POST, whose body has a secret, is not taken to another one), and
// gives 2xx bodies to `sink`. Other bodies are read to 8 KiB for the error's text.
Attempt ExchangeFollowing(const base::OpContext& ctx, HttpTransport& transport,
                          const ExchangeOptions& options, HttpRequest request,
                          const HttpTransport::BodySink& sink);

// "Retry-After" in seconds or as a date (RFC 9110 section 10.2.3).
std::optional<absl::Duration> ParseRetryAfter(const std::string& value, absl::Time now);

// What an error response says of itself: `{"errors":[{"code","message"}]}` (distribution-spec,
// "Error Codes"), a token server's {"details"} or {"error"}, else nothing. One printable line.
std::string ErrorText(const std::string& body);

std::string Scrub(std::string text, const std::vector<std::string>& secrets);

}  // namespace berth::registry
