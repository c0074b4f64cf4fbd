#include "daemon/streaming/spdy_session.h"

#include <utility>
#include <vector>

#include "fmt/format.h"

#include "daemon/streaming/limits.h"
#include "daemon/streaming/spdy_stream.h"
#include "daemon/streaming/wire_format.h"
#include "lib/base/status.h"

namespace berth::streaming {

namespace {

constexpr uint32_t kIdMask = 0x7fffffff;
constexpr int64_t kMaxWindow = 0x7fffffff;

absl::Status CheckSize(std::string_view frame, std::string_view payload, size_t size) {
  if (payload.size() != size) {
    return absl::InvalidArgumentError(
        fmt::format("a {} frame of {} bytes, not {}", frame, payload.size(), size));
  }
  return absl::OkStatus();
}

}  // namespace

SpdySession::SpdySession(Wire& wire, Session& session)
    : wire_(wire), session_(session), link_(std::make_shared<Link>(Link{this})) {}

SpdySession::~SpdySession() { link_->session = nullptr; }

absl::Status SpdySession::Receive(std::string_view bytes) {
  const absl::Status status = frames_.Read(bytes, *this);
  if (!status.ok()) {
    SendGoAway(SpdyGoAway::kProtocolError);
  }
  return status;
}

absl::Status SpdySession::OnControl(uint16_t type, uint8_t flags, std::string_view payload) {
  switch (static_cast<SpdyType>(type)) {
    case SpdyType::kSynStream:
      return OnSynStream(flags, payload);
    case SpdyType::kRstStream:
      return OnRstStream(payload);
    case SpdyType::kSettings:
      return OnSettings(payload);
    case SpdyType::kPing:
      return OnPing(payload);
    case SpdyType::kWindowUpdate:
      return OnWindowUpdate(payload);
    case SpdyType::kSynReply:
    case SpdyType::kHeaders:
      // They mean nothing here, but the next block is deflated after this one.
      if (payload.size() < 4) {
        return absl::InvalidArgumentError("a HEADERS or SYN_REPLY frame without a stream");
      }
      return headers_in_.Read(payload.substr(4)).status();
    case SpdyType::kGoAway:
      return absl::OkStatus();  // no new streams; those that are go on
  }
  return absl::OkStatus();
}

absl::Status SpdySession::OnSynStream(uint8_t flags, std::string_view payload) {
  constexpr size_t kFixedBytes = 10;
  if (payload.size() < kFixedBytes) {
    return absl::InvalidArgumentError("a SYN_STREAM frame without its fixed part");
  }
  const uint32_t id = wire_format::Get32(payload.data()) & kIdMask;
  if (id % 2 == 0 || id <= last_id_) {
    return absl::InvalidArgumentError(
        fmt::format("stream {} is opened after stream {}: ids are odd and grow", id, last_id_));
  }
  ASSIGN_OR_RETURN(const StreamHeaders headers, headers_in_.Read(payload.substr(kFixedBytes)));
  last_id_ = id;
  if ((flags & kSpdyUnidirectional) != 0) {
    SendReset(id, SpdyReset::kProtocolError);
    return absl::OkStatus();
  }
  if (streams_.size() >= kMaxStreams) {
    SendReset(id, SpdyReset::kRefusedStream);
    return absl::OkStatus();
  }
  const auto stream = std::make_shared<Stream>(link_, id, initial_window_);
  streams_[id] = stream;
  if (!session_.OnStream(stream, id, headers)) {
    streams_.erase(id);
    SendReset(id, SpdyReset::kRefusedStream);
    return absl::OkStatus();
  }
  std::string reply;
  wire_format::Put32(reply, id);
  wire_.WriteFrame(SpdyControlFrame(SpdyType::kSynReply, 0, reply + headers_out_.NextEmptyBlock()));
  if ((flags & kSpdyFin) != 0) {
    stream->TakeEnd();
  }
  return absl::OkStatus();
}

absl::Status SpdySession::OnData(uint32_t id, uint8_t flags, std::string_view piece, bool last) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) {
    Received(piece.size());
    // The last bytes of a stream that was reset meet its reset on the way.
    if (last && (id % 2 == 0 || id > last_id_)) {
      SendReset(id, SpdyReset::kInvalidStream);
    }
    return absl::OkStatus();
  }
  const std::shared_ptr<Stream> stream = found->second;
  if (stream->remote_closed()) {
    Received(piece.size());
    if (last) {
      SendReset(id, SpdyReset::kStreamAlreadyClosed);
      stream->TakeReset();
    }
    return absl::OkStatus();
  }
  stream->Take(piece);
  if (last && (flags & kSpdyFin) != 0 && !stream->remote_closed()) {
    stream->TakeEnd();
  }
  return absl::OkStatus();
}

absl::Status SpdySession::OnRstStream(std::string_view payload) {
  RETURN_IF_ERROR(CheckSize("RST_STREAM", payload, 8));
  const auto found = streams_.find(wire_format::Get32(payload.data()) & kIdMask);
  if (found != streams_.end()) {
    const std::shared_ptr<Stream> stream = found->second;
    stream->TakeReset();
  }
  return absl::OkStatus();
}

absl::Status SpdySession::OnSettings(std::string_view payload) {
  constexpr size_t kEntryBytes = 8;
  if (payload.size() < 4 ||
      payload.size() != 4 + kEntryBytes * size_t{wire_format::Get32(payload.data())}) {
    return absl::InvalidArgumentError("a SETTINGS frame whose size is not that of its entries");
  }
  flow_control_ = true;
  for (size_t at = 4; at < payload.size(); at += kEntryBytes) {
    if (wire_format::Get24(payload.data() + at + 1) != kSpdySettingInitialWindow) {
      continue;
    }
    const int64_t window = wire_format::Get32(payload.data() + at + 4);
    if (window > kMaxWindow) {
      return absl::InvalidArgumentError(fmt::format("an initial window of {} bytes", window));
    }
    for (const auto& [id, stream] : streams_) {
      stream->AddWindow(window - initial_window_);
    }
    initial_window_ = window;
  }
  PumpAll();
  return absl::OkStatus();
}

absl::Status SpdySession::OnPing(std::string_view payload) {
  RETURN_IF_ERROR(CheckSize("PING", payload, 4));
  const uint32_t id = wire_format::Get32(payload.data());
  if (id % 2 == 1) {  // the client's; even ones would be answers to ours
    wire_.WriteFrame(SpdyControlFrame(SpdyType::kPing, id));
  }
  return absl::OkStatus();
}

absl::Status SpdySession::OnWindowUpdate(std::string_view payload) {
  RETURN_IF_ERROR(CheckSize("WINDOW_UPDATE", payload, 8));
  flow_control_ = true;
  const uint32_t id = wire_format::Get32(payload.data()) & kIdMask;
  const int64_t delta = wire_format::Get32(payload.data() + 4) & kIdMask;
  if (id == 0) {
    send_window_ += delta;
    if (send_window_ > kMaxWindow) {
      return absl::InvalidArgumentError("the session's window is opened beyond 2^31 - 1 bytes");
    }
    PumpAll();
    return absl::OkStatus();
  }
  const auto found = streams_.find(id);
  if (found != streams_.end()) {
    const std::shared_ptr<Stream> stream = found->second;
    stream->AddWindow(delta);
    if (stream->window() > kMaxWindow) {
      SendReset(id, SpdyReset::kFlowControlError);
      stream->TakeReset();
      return absl::OkStatus();
    }
    stream->Pump();
  }
  return absl::OkStatus();
}

void SpdySession::PumpAll() {
  std::vector<std::shared_ptr<Stream>> streams;
  for (const auto& [id, stream] : streams_) {
    streams.push_back(stream);
  }
  for (const std::shared_ptr<Stream>& stream : streams) {
    stream->Pump();
  }
}

void SpdySession::Received(size_t bytes) {
  update_owed_ += bytes;
  if (update_owed_ >= kSpdyInitialWindow / 2) {
    wire_.WriteFrame(
        SpdyControlFrame(SpdyType::kWindowUpdate, 0, static_cast<uint32_t>(update_owed_)));
    update_owed_ = 0;
  }
}

void SpdySession::SendReset(uint32_t id, SpdyReset reason) {
  wire_.WriteFrame(SpdyControlFrame(SpdyType::kRstStream, id, static_cast<uint32_t>(reason)));
}

void SpdySession::SendGoAway(SpdyGoAway reason) {
  if (std::exchange(gone_away_, true)) {
    return;
  }
  wire_.WriteFrame(SpdyControlFrame(SpdyType::kGoAway, last_id_, static_cast<uint32_t>(reason)));
}

}  // namespace berth::streaming
