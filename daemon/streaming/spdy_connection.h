// SpdyConnection: a SpdySession on its transport.
//
// Threads, ownership: see SessionConnection. Memory: one buffer for input; output is gathered from
// the streams' own buffers.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/streaming/session_connection.h"
#include "daemon/streaming/spdy_session.h"
#include "daemon/streaming/spdy_transport.h"

namespace berth::streaming {

class SpdyConnection : public SessionConnection, private Wire {
 public:
  SpdyConnection(ConnectionSet& set, std::unique_ptr<Session> session,
                 std::chrono::seconds idle_timeout, std::unique_ptr<SpdyTransport> transport);

  // Answers the request and serves. `early`: what came behind the request.
  void Start(std::string early);

 private:
  struct Item {
    std::string owned;       // a frame of ours, or
    std::string_view bytes;  // somebody's, who wants to know
    std::function<void()> written;
    std::string_view view() const { return written ? bytes : std::string_view(owned); }
  };

  ByteStream& stream() override { return transport_->stream(); }
  void SayGoodbye() override;
  bool is_paused() const override;
  void Write(std::string_view bytes, std::function<void()> written) override;
  void WriteFrame(std::string frame) override;
  void OnConsumed() override;

  std::shared_ptr<SpdyConnection> Self() {
    return std::static_pointer_cast<SpdyConnection>(shared_from_this());
  }
  void Read();
  void OnRead(const ErrorCode& error, size_t bytes);
  void Receive(std::string_view bytes);
  void Flush();
  void OnWritten(const ErrorCode& error, size_t items);

  const std::unique_ptr<SpdyTransport> transport_;
  SpdySession spdy_;
  std::unique_ptr<char[]> input_;
  bool reading_ = false;
  std::deque<Item> queue_;
  std::vector<asio::const_buffer> gathered_;
  bool writing_ = false;
  bool write_ended_ = false;
  size_t queued_frame_bytes_ = 0;
};

}  // namespace berth::streaming
