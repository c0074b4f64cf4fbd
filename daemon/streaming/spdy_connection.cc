#include "daemon/streaming/spdy_connection.h"

#include <utility>

#include "lib/base/log.h"

namespace berth::streaming {

namespace {

constexpr size_t kInputBytes = 32 << 10;
constexpr size_t kMaxGathered = 16;  // items of one write

}  // namespace

SpdyConnection::SpdyConnection(ConnectionSet& set, std::unique_ptr<Session> session,
                               std::chrono::seconds idle_timeout,
                               std::unique_ptr<SpdyTransport> transport)
    : SessionConnection(set, std::move(session), idle_timeout),
      transport_(std::move(transport)),
      spdy_(*this, SessionConnection::session()),
      input_(new char[kInputBytes]) {}

void SpdyConnection::Start(std::string early) {
  StartLinger();  // for the answer
  transport_->Accept([self = Self(), early = std::move(early)](const ErrorCode& error, size_t) {
    if (error || self->ended()) {
      self->End();
      return;
    }
    self->StopLinger();
    self->session().Start(self);
    if (!early.empty()) {
      self->Receive(early);
    }
    self->Read();
  });
}

bool SpdyConnection::is_paused() const {
  return !closing() &&
         (spdy_.unconsumed() > kMaxUnconsumedBytes || queued_frame_bytes_ > kMaxQueuedControlBytes);
}

void SpdyConnection::Read() {
  if (reading_ || ended() || is_paused()) {
    return;
  }
  reading_ = true;
  transport_->Read(
      asio::buffer(input_.get(), kInputBytes),
      [self = Self()](const ErrorCode& error, size_t bytes) { self->OnRead(error, bytes); });
}

void SpdyConnection::OnRead(const ErrorCode& error, size_t bytes) {
  if (error || ended()) {
    reading_ = false;
    End();
    return;
  }
  if (!closing()) {
    Receive({input_.get(), bytes});
  }
  reading_ = false;  // only now: OnConsumed must not read into what is being looked at
  Read();
}

void SpdyConnection::Receive(std::string_view bytes) {
  const absl::Status status = spdy_.Receive(bytes);
  if (!status.ok() && !ended()) {
    base::Log("streaming")
        .warn("connection closed: the client broke the SPDY protocol: {}",
              std::string(status.message()));
    EndSession();
    Close();
  }
}

void SpdyConnection::Write(std::string_view bytes, std::function<void()> written) {
  queue_.push_back({{}, bytes, std::move(written)});
  Flush();
}

void SpdyConnection::WriteFrame(std::string frame) {
  queued_frame_bytes_ += frame.size();
  queue_.push_back({std::move(frame), {}, nullptr});
  Flush();
}

void SpdyConnection::OnConsumed() {
  Touch();
  Read();
}

void SpdyConnection::SayGoodbye() {
  spdy_.GoAway();
  Flush();
  Read();  // and drop: a client that must first get rid of its input would never take our output
}

void SpdyConnection::Flush() {
  if (writing_ || ended()) {
    return;
  }
  if (queue_.empty()) {
    if (closing() && !write_ended_) {
      write_ended_ = true;
      StartLinger();
      transport_->EndWrite([self = Self()](const ErrorCode&, size_t) { self->Read(); });
    }
    return;
  }
  writing_ = true;
  gathered_.clear();
  for (const Item& item : queue_) {
    if (gathered_.size() == kMaxGathered) {
      break;
    }
    gathered_.emplace_back(item.view().data(), item.view().size());
  }
  transport_->Write(gathered_,
                    [self = Self(), items = gathered_.size()](const ErrorCode& error, size_t) {
                      self->OnWritten(error, items);
                    });
}

void SpdyConnection::OnWritten(const ErrorCode& error, size_t items) {
  writing_ = false;
  if (error || ended()) {
    End();
    return;
  }
  std::vector<std::function<void()>> written;
  for (size_t i = 0; i < items; ++i) {
    Item& item = queue_.front();
    queued_frame_bytes_ -= item.owned.size();
    if (item.written) {
      Touch();
      written.push_back(std::move(item.written));
    }
    queue_.pop_front();
  }
  // They send the next chunks, which then leave together.
  writing_ = true;
  for (const std::function<void()>& call : written) {
    call();
  }
  writing_ = false;
  Flush();
  Read();
}

}  // namespace berth::streaming
