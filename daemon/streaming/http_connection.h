// HttpConnection: a connection until its request is answered: TLS handshake, request header, token,
// and then either the switch to a protocol, which takes the socket over, or a refusal.
//
// Threads: the event thread. Ownership: owned by the ConnectionSet and by its operations in flight.
#pragma once

#include <memory>
#include <string>

#include "boost/beast/core/flat_buffer.hpp"
#include "boost/beast/http/parser.hpp"

#include "daemon/streaming/byte_stream.h"
#include "daemon/streaming/connection_set.h"
#include "daemon/streaming/session_context.h"
#include "daemon/streaming/token_table.h"
#include "daemon/streaming/upgrade.h"

namespace berth::streaming {

class HttpConnection : public Connection, public std::enable_shared_from_this<HttpConnection> {
 public:
  // What it needs of the server; borrowed.
  struct Server {
    SessionContext sessions;
    TokenTable& tokens;
    ConnectionSet& connections;
    std::chrono::seconds idle_timeout;
  };

  HttpConnection(Server& server, ByteStream stream);

  void Start();
  void Tick(Clock::time_point now) override;
  void Abort() override;

 private:
  void ReadRequest();
  void OnRequest(const ErrorCode& error);
  void Serve(StreamRequest request, const Upgrade& upgrade);
  void Answer(int status, std::string_view text,
              const std::vector<std::pair<std::string, std::string>>& headers = {});
  void Linger();

  Server& server_;
  ByteStream stream_;
  const Clock::time_point deadline_ = Clock::now() + kRequestTimeout;
  beast::flat_buffer input_;
  beast::http::request_parser<beast::http::empty_body> parser_;
  std::string answer_;
  bool ended_ = false;
};

}  // namespace berth::streaming
