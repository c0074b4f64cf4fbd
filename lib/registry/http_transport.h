// HttpTransport: one HTTP exchange. It follows no redirect, knows no credentials and does not
// retry: RegistryClient does. The seam between the registry protocol and libcurl;
// testing/fake_transport.h is the other implementation.
//
// Threads: thread-safe; Perform blocks its caller.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "lib/base/op_context.h"

namespace berth::registry {

struct TlsSettings {
  bool verify = true;
  std::vector<std::string> ca_files;  // trusted besides the system's
  std::string client_cert_file;       // PEM; empty: none
  std::string client_key_file;

  bool operator==(const TlsSettings&) const = default;
};

struct HttpRequest {
  std::string method = "GET";  // GET, HEAD or POST
  std::string url;             // http or https, absolute
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // of a POST
  TlsSettings tls;
  absl::Duration connect_timeout = absl::Seconds(30);
  absl::Duration stall_timeout = absl::InfiniteDuration();  // no byte for so long ends the exchange
};

// The head of a response.
struct HttpResponse {
  int status = 0;
  std::multimap<std::string, std::string> headers;  // names in lower case

  // The first header of that (lower-case) name.
  std::optional<std::string> Header(const std::string& name) const;
};

class HttpTransport {
 public:
  // Gets the body in pieces, as they arrive; the head is complete by then. An error ends the
  // exchange and is returned.
  using BodySink =
      std::function<absl::Status(const HttpResponse& head, std::span<const char> piece)>;

  virtual ~HttpTransport() = default;

  // Any HTTP status is a response. Errors:
  //   kUnavailable         no connection: name not resolved, refused, timed out, TLS not spoken
  //   kFailedPrecondition  the server's certificate is not trusted
  //   kAborted             the connection broke or stalled after the request was sent; part of the
  //                        body may have been delivered
  //   kInvalidArgument     not a usable URL, unreadable certificate files
  //   the context's error at its end, the sink's own error
  virtual absl::StatusOr<HttpResponse> Perform(const base::OpContext& ctx,
                                               const HttpRequest& request,
                                               const BodySink& sink) = 0;

  // Closes connections kept for reuse.
  virtual void CloseIdle() = 0;
};

}  // namespace berth::registry
