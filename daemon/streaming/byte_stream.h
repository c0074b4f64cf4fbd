// ByteStream: a client's TCP connection, plain or under TLS, as one type for Asio and Beast
// (AsyncReadStream, AsyncWriteStream), so that what is above it is compiled once.
//
// Threads: the event thread. Ownership: owns the socket. Errors: Asio's.
#pragma once

#include <poll.h>

#include <memory>
#include <utility>

#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/ssl.hpp"
#include "boost/beast/core/stream_traits.hpp"
#include "boost/beast/websocket/teardown.hpp"

namespace berth::streaming {

namespace asio = boost::asio;
namespace beast = boost::beast;
using ErrorCode = boost::system::error_code;

class ByteStream {
 public:
  using Socket = asio::ip::tcp::socket;
  using executor_type = Socket::executor_type;

  // tls: null for a plain connection.
  ByteStream(Socket socket, std::shared_ptr<asio::ssl::context> tls) : tls_context_(tls) {
    if (tls_context_ != nullptr) {
      tls_ = std::make_unique<asio::ssl::stream<Socket>>(std::move(socket), *tls_context_);
    } else {
      plain_ = std::make_unique<Socket>(std::move(socket));
    }
  }

  executor_type get_executor() { return socket().get_executor(); }
  Socket& socket() { return tls_ != nullptr ? tls_->next_layer() : *plain_; }
  bool is_tls() const { return tls_ != nullptr; }

  template <typename Handler>
  void async_handshake(Handler&& handler) {
    tls_->async_handshake(asio::ssl::stream_base::server, std::forward<Handler>(handler));
  }
  template <typename Buffers, typename Handler>
  auto async_read_some(const Buffers& buffers, Handler&& handler) {
    return tls_ != nullptr ? tls_->async_read_some(buffers, std::forward<Handler>(handler))
                           : plain_->async_read_some(buffers, std::forward<Handler>(handler));
  }
  template <typename Buffers, typename Handler>
  auto async_write_some(const Buffers& buffers, Handler&& handler) {
    return tls_ != nullptr ? tls_->async_write_some(buffers, std::forward<Handler>(handler))
                           : plain_->async_write_some(buffers, std::forward<Handler>(handler));
  }

  // Tells the client that nothing follows; reading goes on. Under TLS the client's end of the TCP
  // connection says it, after close_notify.
  template <typename Handler>
  void AsyncEndWrite(Handler handler) {
    if (tls_ != nullptr) {
      // It waits for the client's close_notify as well; whoever calls limits the time.
      tls_->async_shutdown(std::move(handler));
      return;
    }
    ErrorCode error;
    socket().shutdown(Socket::shutdown_send, error);
    asio::post(get_executor(), [handler = std::move(handler), error]() mutable { handler(error); });
  }

  // Ends both directions; pending operations fail.
  void Close() {
    ErrorCode ignored;
    socket().close(ignored);
  }
  // The client has closed its side or is gone, even if there is input before that.
  bool PeerHasClosed() {
    pollfd entry = {socket().native_handle(), POLLRDHUP, 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }

 private:
  std::shared_ptr<asio::ssl::context> tls_context_;  // outlives tls_
  std::unique_ptr<Socket> plain_;
  std::unique_ptr<asio::ssl::stream<Socket>> tls_;
};

// What Beast's WebSocket asks of a stream: how it ends.
template <typename Handler>
void async_teardown(beast::role_type, ByteStream& stream, Handler&& handler) {
  ErrorCode error;
  stream.socket().shutdown(ByteStream::Socket::shutdown_send, error);
  asio::post(stream.get_executor(),
             beast::bind_front_handler(std::forward<Handler>(handler), ErrorCode()));
}
inline void beast_close_socket(ByteStream& stream) { stream.Close(); }

}  // namespace berth::streaming
