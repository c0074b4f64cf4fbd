// StreamServer: the HTTP server behind the URLs of Exec, Attach and PortForward. A URL carries a
// token; whoever shows it gets the session that was asked for, once. It speaks HTTP/1.1, and from
// there SPDY/3.1 or WebSocket, as the kubelet and client-go do.
//
// Threads: Start and Stop: one at a time. The URLs: thread-safe, at any time after Start.
// Inside: one event thread that moves all bytes and never blocks, and threads for the Backend's
// calls (BackendCalls). Ownership: borrows the backend.
// Limits: daemon/streaming/limits.h. Source: CRI v1 Exec, Attach, PortForward.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "daemon/streaming/backend.h"

namespace berth::streaming {

struct ServerOptions {
  std::string address = "127.0.0.1";  // an IP address
  uint16_t port = 0;                  // 0: any free one
  std::chrono::seconds idle_timeout = std::chrono::hours(4);
  std::chrono::seconds creation_timeout = std::chrono::seconds(30);
  // PEM files; all empty: plain HTTP. Reread when they change. ca: clients must show a certificate.
  std::string tls_cert, tls_key, tls_ca;
  std::string tls_min_version;                 // "1.2" or "1.3"; empty: 1.2
  std::vector<std::string> tls_cipher_suites;  // empty: OpenSSL's defaults
};

class StreamServer {
 public:
  StreamServer(ServerOptions options, Backend& backend);
  ~StreamServer();  // Stop()

  // Listens and starts the server's thread. Errors name the address or the file.
  absl::Status Start();
  // Ends every session (clients see a closed connection), joins the thread. Idempotent.
  void Stop();

  // URLs for one use within a minute. Requests were checked by the caller (streams, ids).
  // kResourceExhausted: too many unused ones.
  absl::StatusOr<std::string> ExecUrl(ExecRequest request);
  absl::StatusOr<std::string> AttachUrl(AttachRequest request);
  // ports: those that the request names. Only clients over WebSocket, which cannot name them in the
  // connection, are bound to them; they are refused where there are none.
  absl::StatusOr<std::string> PortForwardUrl(std::string sandbox_id,
                                             std::vector<uint16_t> ports = {});

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::streaming
