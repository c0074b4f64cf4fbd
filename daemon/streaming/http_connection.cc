#include "daemon/streaming/http_connection.h"

#include <optional>
#include <utility>
#include <variant>

#include "boost/asio/write.hpp"
#include "boost/beast/core/buffers_to_string.hpp"
#include "boost/beast/http/read.hpp"

#include "daemon/streaming/attach_session.h"
#include "daemon/streaming/exec_session.h"
#include "daemon/streaming/limits.h"
#include "daemon/streaming/port_forward.h"
#include "daemon/streaming/spdy_connection.h"
#include "daemon/streaming/websocket_connection.h"
#include "lib/base/log.h"

namespace berth::streaming {

namespace {

namespace http = beast::http;

std::unique_ptr<Session> MakeSession(const SessionContext& context, StreamRequest request,
                                     const Upgrade& upgrade) {
  if (auto* exec = std::get_if<ExecRequest>(&request)) {
    return std::make_unique<ExecSession>(context, std::move(*exec), upgrade.command);
  }
  if (auto* attach = std::get_if<AttachRequest>(&request)) {
    return std::make_unique<AttachSession>(context, std::move(*attach), upgrade.command);
  }
  return std::make_unique<PortForwardSession>(
      context, std::move(std::get<PortForwardRequest>(request).sandbox_id),
      upgrade.kind == Upgrade::Kind::kWebSocket);
}

}  // namespace

HttpConnection::HttpConnection(Server& server, ByteStream stream)
    : server_(server), stream_(std::move(stream)), input_(kMaxRequestHeaderBytes) {
  parser_.header_limit(kMaxRequestHeaderBytes);
}

void HttpConnection::Start() {
  if (!stream_.is_tls()) {
    ReadRequest();
    return;
  }
  stream_.async_handshake([self = shared_from_this()](const ErrorCode& error) {
    if (error) {
      base::Log("streaming").debug("TLS handshake failed: {}", error.message());
      self->Abort();
    } else if (!self->ended_) {
      self->ReadRequest();
    }
  });
}

void HttpConnection::Tick(Clock::time_point now) {
  if (now >= deadline_) {
    Abort();
  }
}

void HttpConnection::Abort() {
  if (!ended_) {
    ended_ = true;
    const std::shared_ptr<HttpConnection> self = shared_from_this();
    stream_.Close();
    server_.connections.Remove(this);
  }
}

void HttpConnection::ReadRequest() {
  http::async_read_header(
      stream_, input_, parser_,
      [self = shared_from_this()](const ErrorCode& error, size_t) { self->OnRequest(error); });
}

void HttpConnection::OnRequest(const ErrorCode& error) {
  if (ended_) {
    return;
  }
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return Answer(431, "the request's header is too large");
  }
  if (error.category() == http::make_error_code(http::error::bad_method).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message) {
    return Answer(400, "this is not an HTTP/1.1 request: " + error.message());
  }
  if (error) {
    return Abort();
  }
  const HttpRequest& request = parser_.get();
  if (request.method() != http::verb::get && request.method() != http::verb::post) {
    return Answer(405, "streaming URLs take GET and POST", {{"Allow", "GET, POST"}});
  }
  if (server_.connections.is_full()) {  // looked at first: the URL stays good
    return Answer(503, "there are too many streaming sessions");
  }
  const StreamTarget target = ParseTarget({request.target().data(), request.target().size()});
  std::optional<StreamRequest> wanted = server_.tokens.Take(target.token);
  if (!wanted || !IsKind(*wanted, target.kind)) {
    return Answer(404, "no such streaming URL; each is good once, for a minute");
  }
  const Upgrade upgrade = Negotiate(request, *wanted);
  if (upgrade.kind == Upgrade::Kind::kReject) {
    return Answer(upgrade.status, upgrade.reason, upgrade.headers);
  }
  Serve(*std::move(wanted), upgrade);
}

void HttpConnection::Serve(StreamRequest request, const Upgrade& upgrade) {
  const std::shared_ptr<HttpConnection> self = shared_from_this();
  ended_ = true;
  server_.connections.Remove(this);
  std::vector<std::optional<ChannelSpec>> channels;
  if (upgrade.kind == Upgrade::Kind::kWebSocket) {
    channels = ChannelsFor(request);
  }
  std::unique_ptr<Session> session = MakeSession(server_.sessions, std::move(request), upgrade);
  if (upgrade.kind != Upgrade::Kind::kWebSocket) {
    const bool is_plain = upgrade.kind == Upgrade::Kind::kSpdy;
    const auto connection = std::make_shared<SpdyConnection>(
        server_.connections, std::move(session), server_.idle_timeout,
        is_plain ? MakeSpdyTransport(std::move(stream_), upgrade)
                 : MakeSpdyOverWebSocket(std::move(stream_), upgrade, parser_.get()));
    server_.connections.AddSession(connection);
    connection->Start(is_plain ? beast::buffers_to_string(input_.data()) : std::string());
    return;
  }
  const auto connection = std::make_shared<WebSocketConnection>(
      server_.connections, std::move(session), server_.idle_timeout, std::move(stream_),
      upgrade.coding, std::move(channels));
  server_.connections.AddSession(connection);
  connection->Start(parser_.get(), upgrade.protocol);
}

void HttpConnection::Answer(int status, std::string_view text,
                            const std::vector<std::pair<std::string, std::string>>& headers) {
  base::Log("streaming").debug("request refused status={}: {}", status, text);
  answer_ = HttpAnswer(status, text, headers);
  asio::async_write(stream_, asio::buffer(answer_),
                    [self = shared_from_this()](const ErrorCode& error, size_t) {
                      if (error || self->ended_) {
                        self->Abort();
                        return;
                      }
                      self->stream_.AsyncEndWrite([self](const ErrorCode&) { self->Linger(); });
                    });
}

// What the client still sends is dropped until it closes or its time is over: closing over unread
// input would reset the connection and take the answer with it.
void HttpConnection::Linger() {
  if (ended_) {
    return;
  }
  input_.clear();
  stream_.async_read_some(input_.prepare(kMaxRequestHeaderBytes),
                          [self = shared_from_this()](const ErrorCode& error, size_t) {
                            if (error) {
                              self->Abort();
                            } else {
                              self->Linger();
                            }
                          });
}

}  // namespace berth::streaming
