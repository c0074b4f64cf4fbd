// SpdySession::Stream: one stream of a SpdySession. Private to it.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "daemon/streaming/spdy_session.h"

namespace berth::streaming {

class SpdySession::Stream : public ClientStream, public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::shared_ptr<Link> link, uint32_t id, int64_t window)
      : link_(std::move(link)), id_(id), window_(window) {}

  void SetSink(std::weak_ptr<StreamSink> sink) override { sink_ = std::move(sink); }
  void Send(Chunk chunk, Sent sent) override;
  void SendText(std::string_view text) override;
  void CloseWrite() override;
  void Reset() override;
  void Consumed(size_t bytes) override;

  // From the client.
  void Take(std::string_view bytes);
  void TakeEnd();
  void TakeReset();
  void AddWindow(int64_t bytes) { window_ += bytes; }
  int64_t window() const { return window_; }
  bool remote_closed() const { return remote_closed_; }
  // Sends what the windows allow, then the end if that is wanted.
  void Pump();

 private:
  void OnWritten(size_t bytes);
  void RemoveIfClosed();

  const std::shared_ptr<Link> link_;
  const uint32_t id_;
  std::weak_ptr<StreamSink> sink_;
  bool local_closed_ = false;
  bool remote_closed_ = false;
  bool end_wanted_ = false;
  bool writing_ = false;  // the wire has a part of chunk_
  Chunk chunk_;
  size_t written_ = 0;  // bytes of chunk_
  Sent sent_;
  int64_t window_;
  size_t update_owed_ = 0;  // bytes consumed that the client does not know of
};

}  // namespace berth::streaming
