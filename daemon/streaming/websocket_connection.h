// WebSocketConnection: a session's streams as the channels of a WebSocket connection.
//
// Channels are there from the beginning: those of a remote command by number (0 standard input, 1
// output, 2 errors, 3 the error stream, 4 the terminal's size), and for port forwarding two of each
// port, data and errors, which first carry the port's number, little-endian.
// Threads, ownership: see SessionConnection.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "boost/beast/websocket.hpp"

#include "daemon/streaming/session_connection.h"
#include "daemon/streaming/upgrade.h"
#include "daemon/streaming/websocket_channels.h"

namespace berth::streaming {

// One channel: what the session is told of it, and what the client gets first. Channels that the
// client did not ask for are absent.
struct ChannelSpec {
  StreamHeaders headers;
  std::optional<std::string> greeting;
};
std::vector<std::optional<ChannelSpec>> ChannelsFor(const StreamRequest& request);

class WebSocketConnection : public SessionConnection, private ChannelReader::Visitor {
 public:
  WebSocketConnection(ConnectionSet& set, std::unique_ptr<Session> session,
                      std::chrono::seconds idle_timeout, ByteStream stream, ChannelCoding coding,
                      std::vector<std::optional<ChannelSpec>> channels);
  ~WebSocketConnection() override;

  // Answers the request and serves.
  void Start(const HttpRequest& request, const std::string& protocol);

 private:
  class Channel;
  // What channels know of their connection; empty once it is gone.
  struct Link {
    WebSocketConnection* connection;
  };
  // A message of a channel: a chunk, whose owner wants it back, or a text.
  struct Message {
    uint8_t channel;
    Chunk chunk;
    ClientStream::Sent sent;
    std::string text;
  };

  ByteStream& stream() override { return websocket_.next_layer(); }
  void SayGoodbye() override;
  bool is_paused() const override { return !closing() && unconsumed_ > kMaxUnconsumedBytes; }
  void OnChannelData(uint8_t channel, std::string_view bytes) override;
  void OnChannelEnd(uint8_t channel) override;

  std::shared_ptr<WebSocketConnection> Self() {
    return std::static_pointer_cast<WebSocketConnection>(shared_from_this());
  }
  void OnAccepted();
  void Read();
  void OnRead(const ErrorCode& error, size_t bytes);
  void Write(Message message);
  void Flush();
  asio::const_buffer Encode(Message& message);
  void OnWritten(const ErrorCode& error);
  void Consumed(size_t bytes);

  boost::beast::websocket::stream<ByteStream, false> websocket_;
  const ChannelCoding coding_;
  const std::vector<std::optional<ChannelSpec>> specs_;
  ChannelReader reader_;
  const std::shared_ptr<Link> link_;
  std::vector<std::shared_ptr<Channel>> channels_;
  std::unique_ptr<char[]> input_;
  bool reading_ = false;
  bool accepted_ = false;
  size_t unconsumed_ = 0;
  std::deque<Message> queue_;
  std::string encoded_;  // the text under way
  bool writing_ = false;
  bool goodbye_said_ = false;
};

}  // namespace berth::streaming
