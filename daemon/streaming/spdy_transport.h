// SpdyTransport: what carries a SPDY session: the client's connection itself, or binary messages of
// a WebSocket on it, whose borders mean nothing (the subprotocols `SPDY/3.1+...`: port forwarding
// by kubectl's and critest's WebSocket).
//
// Threads: the event thread. Ownership: owns the connection; the callers see to it that it lives
// until its operations have called back. One Read and one Write at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "boost/asio/buffer.hpp"

#include "daemon/streaming/byte_stream.h"
#include "daemon/streaming/upgrade.h"

namespace berth::streaming {

class SpdyTransport {
 public:
  using Done = std::function<void(const ErrorCode& error, size_t bytes)>;

  virtual ~SpdyTransport() = default;
  virtual ByteStream& stream() = 0;
  // Sends the HTTP answer. Called once, before the rest.
  virtual void Accept(Done done) = 0;
  virtual void Read(asio::mutable_buffer buffer, Done done) = 0;
  // All of `parts`, which stay as they are until then.
  virtual void Write(const std::vector<asio::const_buffer>& parts, Done done) = 0;
  // Tells the client that nothing follows. Reading goes on.
  virtual void EndWrite(Done done) = 0;
};

std::unique_ptr<SpdyTransport> MakeSpdyTransport(ByteStream stream, const Upgrade& upgrade);
// Borrows the request until Accept returns.
std::unique_ptr<SpdyTransport> MakeSpdyOverWebSocket(ByteStream stream, const Upgrade& upgrade,
                                                     const HttpRequest& request);

}  // namespace berth::streaming
