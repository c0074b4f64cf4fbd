// SpdySession: the server's end of a SPDY/3.1 connection, without the socket: bytes from the client
// go in, frames go out to a Wire, streams that the client opens go to a Session.
//
// Held to the draft: ids of streams are odd and grow; flags, sizes and versions are checked; a
// violation ends the session with GOAWAY. PING is answered, unknown frames are skipped. The server
// opens no streams.
// Flow control, each stream's and the whole session's: updates for what was consumed are always
// sent. The peer's windows are kept to once it has sent SETTINGS or WINDOW_UPDATE: what Kubernetes
// uses (moby/spdystream) has no flow control, sends neither, and would never open a window.
// Threads: one at a time. Ownership: borrows the wire and the session; streams live on without the
// SpdySession and then do nothing.
// Source: SPDY draft 3.1.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "daemon/streaming/client_stream.h"
#include "daemon/streaming/spdy_frames.h"
#include "daemon/streaming/spdy_headers.h"

namespace berth::streaming {

// Ordered bytes to the client.
class Wire {
 public:
  virtual ~Wire() = default;
  // Borrows `bytes` until `written`, which is never called within the call, nor when the
  // connection has ended.
  virtual void Write(std::string_view bytes, std::function<void()> written) = 0;
  virtual void WriteFrame(std::string frame) = 0;
  // unconsumed() has become less.
  virtual void OnConsumed() = 0;
};

class SpdySession : private SpdyFrameReader::Visitor {
 public:
  SpdySession(Wire& wire, Session& session);
  ~SpdySession() override;
  SpdySession(const SpdySession&) = delete;
  SpdySession& operator=(const SpdySession&) = delete;

  // Bytes from the client. An error is a violation: GOAWAY is on its way, nothing may follow.
  absl::Status Receive(std::string_view bytes);
  // Tells the client that it is over.
  void GoAway() { SendGoAway(SpdyGoAway::kOk); }
  // Bytes given to sinks and not consumed.
  size_t unconsumed() const { return unconsumed_; }
  size_t open_streams() const { return streams_.size(); }

 private:
  class Stream;
  // What streams know of their session; empty once it is gone.
  struct Link {
    SpdySession* session;
  };

  absl::Status OnControl(uint16_t type, uint8_t flags, std::string_view payload) override;
  absl::Status OnData(uint32_t id, uint8_t flags, std::string_view piece, bool last) override;
  absl::Status OnSynStream(uint8_t flags, std::string_view payload);
  absl::Status OnRstStream(std::string_view payload);
  absl::Status OnSettings(std::string_view payload);
  absl::Status OnPing(std::string_view payload);
  absl::Status OnWindowUpdate(std::string_view payload);
  void SendReset(uint32_t id, SpdyReset reason);
  void SendGoAway(SpdyGoAway reason);
  // Bytes of data that are done with, for the session's window.
  void Received(size_t bytes);
  void PumpAll();

  Wire& wire_;
  Session& session_;
  const std::shared_ptr<Link> link_;
  SpdyFrameReader frames_;
  SpdyHeaderReader headers_in_;
  SpdyHeaderWriter headers_out_;
  std::map<uint32_t, std::shared_ptr<Stream>> streams_;  // open in one direction at least
  uint32_t last_id_ = 0;
  size_t unconsumed_ = 0;
  size_t update_owed_ = 0;
  bool flow_control_ = false;
  bool gone_away_ = false;
  int64_t initial_window_ = kSpdyInitialWindow;
  int64_t send_window_ = kSpdyInitialWindow;  // the whole session's
};

}  // namespace berth::streaming
