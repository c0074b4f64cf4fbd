#include "daemon/streaming/spdy_transport.h"

#include <utility>

#include "boost/asio/write.hpp"
#include "boost/beast/websocket.hpp"

namespace berth::streaming {

namespace {

namespace websocket = beast::websocket;

class Plain : public SpdyTransport {
 public:
  Plain(ByteStream stream, std::string answer)
      : stream_(std::move(stream)), answer_(std::move(answer)) {}

  ByteStream& stream() override { return stream_; }
  void Accept(Done done) override {
    asio::async_write(stream_, asio::buffer(answer_), std::move(done));
  }
  void Read(asio::mutable_buffer buffer, Done done) override {
    stream_.async_read_some(buffer, std::move(done));
  }
  void Write(const std::vector<asio::const_buffer>& parts, Done done) override {
    asio::async_write(stream_, parts, std::move(done));
  }
  void EndWrite(Done done) override {
    stream_.AsyncEndWrite([done = std::move(done)](const ErrorCode& error) { done(error, 0); });
  }

 private:
  ByteStream stream_;
  const std::string answer_;
};

class OverWebSocket : public SpdyTransport {
 public:
  OverWebSocket(ByteStream stream, const std::string& protocol, const HttpRequest& request)
      : websocket_(std::move(stream)), request_(request) {
    websocket_.auto_fragment(false);
    websocket_.read_message_max(0);  // nothing is collected
    websocket_.binary(true);
    websocket_.set_option(
        websocket::stream_base::decorator([protocol](websocket::response_type& answer) {
          answer.set(beast::http::field::sec_websocket_protocol, protocol);
        }));
  }

  ByteStream& stream() override { return websocket_.next_layer(); }
  void Accept(Done done) override {
    websocket_.async_accept(request_,
                            [done = std::move(done)](const ErrorCode& error) { done(error, 0); });
  }
  void Read(asio::mutable_buffer buffer, Done done) override {
    websocket_.async_read_some(buffer, std::move(done));
  }
  void Write(const std::vector<asio::const_buffer>& parts, Done done) override {
    websocket_.async_write(parts, std::move(done));
  }
  void EndWrite(Done done) override {
    websocket_.async_close(websocket::close_code::normal,
                           [done = std::move(done)](const ErrorCode& error) { done(error, 0); });
  }

 private:
  websocket::stream<ByteStream, false> websocket_;
  const HttpRequest& request_;
};

}  // namespace

std::unique_ptr<SpdyTransport> MakeSpdyTransport(ByteStream stream, const Upgrade& upgrade) {
  return std::make_unique<Plain>(std::move(stream), SpdyAnswer(upgrade));
}

std::unique_ptr<SpdyTransport> MakeSpdyOverWebSocket(ByteStream stream, const Upgrade& upgrade,
                                                     const HttpRequest& request) {
  return std::make_unique<OverWebSocket>(std::move(stream), upgrade.protocol, request);
}

}  // namespace berth::streaming
