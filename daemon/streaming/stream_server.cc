#include "daemon/streaming/stream_server.h"

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/steady_timer.hpp"
#include "fmt/format.h"

#include "daemon/streaming/backend_calls.h"
#include "daemon/streaming/connection_set.h"
#include "daemon/streaming/http_connection.h"
#include "daemon/streaming/tls_context.h"
#include "daemon/streaming/token_table.h"
#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::streaming {

namespace {

using asio::ip::tcp;

// After an accept that failed, for want of descriptors as a rule.
constexpr std::chrono::milliseconds kAcceptPause{100};
// Dead peers are found within some minutes also where nothing is sent to them.
constexpr int kKeepAliveIdleSeconds = 60;
constexpr int kKeepAliveIntervalSeconds = 15;

void SetOptions(tcp::socket& socket) {
  ErrorCode ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const int fd = socket.native_handle();
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &kKeepAliveIdleSeconds, sizeof(int));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &kKeepAliveIntervalSeconds, sizeof(int));
}

// Where a client on this node reaches a server that listens on `address`.
std::string HostOf(const asio::ip::address& address) {
  if (address.is_v6()) {
    return fmt::format(
        "[{}]", (address.is_unspecified() ? asio::ip::address_v6::loopback() : address.to_v6())
                    .to_string());
  }
  return (address.is_unspecified() ? asio::ip::address_v4::loopback() : address.to_v4())
      .to_string();
}

}  // namespace

class StreamServer::Impl {
 public:
  Impl(ServerOptions options, Backend& backend)
      : options_(std::move(options)),
        tls_(options_),
        calls_(io_),
        connections_(io_),
        server_{{io_, backend, calls_, options_.creation_timeout},
                tokens_,
                connections_,
                options_.idle_timeout},
        acceptor_(io_),
        pause_(io_) {}
  ~Impl() { Stop(); }

  absl::Status Start();
  void Stop();
  absl::StatusOr<std::string> Url(std::string_view kind, StreamRequest request);

 private:
  absl::Status Listen(const tcp::endpoint& endpoint);
  void Run();
  void Accept();

  const ServerOptions options_;
  TlsContext tls_;
  TokenTable tokens_;
  asio::io_context io_{1};
  BackendCalls calls_;
  ConnectionSet connections_;
  HttpConnection::Server server_;
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  std::string base_url_;  // set by Start, before the thread
  std::thread thread_;
};

absl::Status StreamServer::Impl::Listen(const tcp::endpoint& endpoint) {
  ErrorCode error;
  acceptor_.open(endpoint.protocol(), error);
  if (!error) {
    acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  }
  if (!error) {
    acceptor_.bind(endpoint, error);
  }
  if (!error) {
    acceptor_.listen(asio::socket_base::max_listen_connections, error);
  }
  if (!error) {
    return absl::OkStatus();
  }
  return base::ErrnoStatus(error.value(), fmt::format("listen for streaming at '{}' port {}",
                                                      options_.address, options_.port));
}

absl::Status StreamServer::Impl::Start() {
  ErrorCode error;
  const asio::ip::address address = asio::ip::make_address(options_.address, error);
  if (error) {
    return absl::InvalidArgumentError(
        fmt::format("the address of streaming, '{}', is not an IP address", options_.address));
  }
  RETURN_IF_ERROR(tls_.Load());
  RETURN_IF_ERROR(Listen({address, options_.port}));
  base_url_ = fmt::format("{}://{}:{}", tls_.Current() != nullptr ? "https" : "http",
                          HostOf(address), acceptor_.local_endpoint().port());
  base::Log("streaming").info("streaming server listens url={}", base_url_);
  Accept();
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void StreamServer::Impl::Run() {
  pthread_setname_np(pthread_self(), "streaming");
  // Pipes have no MSG_NOSIGNAL: writing to one without a reader is EPIPE here and nothing else.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  io_.run();
}

void StreamServer::Impl::Accept() {
  acceptor_.async_accept([this](const ErrorCode& error, tcp::socket socket) {
    if (error == asio::error::operation_aborted || !acceptor_.is_open()) {
      return;
    }
    if (error) {
      base::Log("streaming").warn("connection not accepted, trying again: {}", error.message());
      pause_.expires_after(kAcceptPause);
      pause_.async_wait([this](const ErrorCode& aborted) {
        if (!aborted && acceptor_.is_open()) {
          Accept();
        }
      });
      return;
    }
    SetOptions(socket);
    const auto connection =
        std::make_shared<HttpConnection>(server_, ByteStream(std::move(socket), tls_.Current()));
    connections_.AddPending(connection);
    connection->Start();
    Accept();
  });
}

void StreamServer::Impl::Stop() {
  if (!thread_.joinable()) {
    return;
  }
  asio::post(io_, [this] {
    ErrorCode ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    connections_.AbortAll();
    io_.stop();
  });
  thread_.join();
  calls_.Stop();
  // Answers that came too late for the thread: commands that were just started end with them.
  io_.restart();
  io_.poll();
}

absl::StatusOr<std::string> StreamServer::Impl::Url(std::string_view kind, StreamRequest request) {
  ASSIGN_OR_RETURN(const std::string token, tokens_.Add(std::move(request)));
  return fmt::format("{}/{}/{}", base_url_, kind, token);
}

StreamServer::StreamServer(ServerOptions options, Backend& backend)
    : impl_(std::make_unique<Impl>(std::move(options), backend)) {}
StreamServer::~StreamServer() = default;

absl::Status StreamServer::Start() { return impl_->Start(); }
void StreamServer::Stop() { impl_->Stop(); }

absl::StatusOr<std::string> StreamServer::ExecUrl(ExecRequest request) {
  return impl_->Url("exec", std::move(request));
}
absl::StatusOr<std::string> StreamServer::AttachUrl(AttachRequest request) {
  return impl_->Url("attach", std::move(request));
}
absl::StatusOr<std::string> StreamServer::PortForwardUrl(std::string sandbox_id,
                                                         std::vector<uint16_t> ports) {
  return impl_->Url("portforward", PortForwardRequest{std::move(sandbox_id), std::move(ports)});
}

}  // namespace berth::streaming
