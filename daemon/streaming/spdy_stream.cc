#include "daemon/streaming/spdy_stream.h"

#include <algorithm>

namespace berth::streaming {

namespace {

// Windows are told when they are half used.
constexpr size_t kUpdateStep = kSpdyInitialWindow / 2;

}  // namespace

void SpdySession::Stream::Send(Chunk chunk, Sent sent) {
  SpdySession* session = link_->session;
  if (session == nullptr) {
    return;
  }
  chunk_ = std::move(chunk);
  written_ = 0;
  sent_ = std::move(sent);
  if (local_closed_ || end_wanted_) {
    writing_ = true;
    session->wire_.Write({}, [self = shared_from_this()] { self->OnWritten(self->chunk_.size); });
    return;
  }
  Pump();
}

void SpdySession::Stream::Pump() {
  SpdySession* session = link_->session;
  if (session == nullptr || writing_ || local_closed_) {
    return;
  }
  if (chunk_) {
    size_t size = chunk_.size - written_;
    if (session->flow_control_) {
      const int64_t open = std::max<int64_t>(0, std::min(window_, session->send_window_));
      size = std::min<size_t>(size, static_cast<size_t>(open));
    }
    if (size == 0) {
      return;
    }
    window_ -= static_cast<int64_t>(size);
    session->send_window_ -= static_cast<int64_t>(size);
    // What is before the part was written already, or is headroom.
    char* frame = chunk_.data() + written_ - kSpdyFrameHeaderBytes;
    SetSpdyDataHeader(frame, id_, 0, size);
    writing_ = true;
    session->wire_.Write({frame, kSpdyFrameHeaderBytes + size},
                         [self = shared_from_this(), size] { self->OnWritten(size); });
    return;
  }
  if (end_wanted_) {
    local_closed_ = true;
    session->wire_.WriteFrame(SpdyDataFrame(id_, kSpdyFin, {}));
    RemoveIfClosed();
  }
}

void SpdySession::Stream::OnWritten(size_t bytes) {
  writing_ = false;
  written_ += bytes;
  if (written_ >= chunk_.size || local_closed_) {
    Chunk chunk = std::exchange(chunk_, Chunk());
    std::exchange(sent_, nullptr)(std::move(chunk));
  }
  Pump();
}

void SpdySession::Stream::SendText(std::string_view text) {
  SpdySession* session = link_->session;
  if (session == nullptr || local_closed_ || end_wanted_ || text.empty()) {
    return;
  }
  window_ -= static_cast<int64_t>(text.size());
  session->send_window_ -= static_cast<int64_t>(text.size());
  session->wire_.WriteFrame(SpdyDataFrame(id_, 0, text));
}

void SpdySession::Stream::CloseWrite() {
  end_wanted_ = true;
  Pump();
}

void SpdySession::Stream::Reset() {
  SpdySession* session = link_->session;
  if (session == nullptr || (local_closed_ && remote_closed_)) {
    return;
  }
  session->SendReset(id_, SpdyReset::kCancel);
  TakeReset();
}

void SpdySession::Stream::Consumed(size_t bytes) {
  SpdySession* session = link_->session;
  if (session == nullptr || bytes == 0) {
    return;
  }
  session->unconsumed_ -= bytes;
  session->Received(bytes);
  update_owed_ += bytes;
  if (!remote_closed_ && update_owed_ >= kUpdateStep) {
    session->wire_.WriteFrame(
        SpdyControlFrame(SpdyType::kWindowUpdate, id_, static_cast<uint32_t>(update_owed_)));
    update_owed_ = 0;
  }
  session->wire_.OnConsumed();
}

void SpdySession::Stream::Take(std::string_view bytes) {
  const std::shared_ptr<StreamSink> sink = sink_.lock();
  link_->session->unconsumed_ += bytes.size();
  if (sink == nullptr) {
    Consumed(bytes.size());
  } else if (!bytes.empty()) {
    sink->OnData(bytes);
  }
}

void SpdySession::Stream::TakeEnd() {
  remote_closed_ = true;
  if (const std::shared_ptr<StreamSink> sink = sink_.lock()) {
    sink->OnEnd();
  }
  RemoveIfClosed();
}

void SpdySession::Stream::TakeReset() {
  local_closed_ = remote_closed_ = true;
  // A part that the wire has is given back by it.
  if (chunk_ && !writing_) {
    writing_ = true;
    link_->session->wire_.Write({}, [self = shared_from_this()] { self->OnWritten(0); });
  }
  if (const std::shared_ptr<StreamSink> sink = sink_.lock()) {
    sink->OnReset();
  }
  RemoveIfClosed();
}

void SpdySession::Stream::RemoveIfClosed() {
  if (local_closed_ && remote_closed_ && link_->session != nullptr) {
    link_->session->streams_.erase(id_);  // callers hold another reference
  }
}

}  // namespace berth::streaming
