#include "daemon/streaming/spdy_frames.h"

#include <algorithm>

#include "fmt/format.h"

#include "daemon/streaming/limits.h"
#include "daemon/streaming/wire_format.h"
#include "lib/base/status.h"

namespace berth::streaming {

namespace {

constexpr uint16_t kVersion = 3;

}  // namespace

absl::Status SpdyFrameReader::OnHeader() {
  is_control_ = (header_[0] & 0x80) != 0;
  left_ = wire_format::Get24(header_.data() + 5);
  if (!is_control_) {
    return absl::OkStatus();
  }
  const int version = wire_format::Get16(header_.data()) & 0x7fff;
  if (version != kVersion) {
    return absl::InvalidArgumentError(fmt::format("a control frame of SPDY version {}", version));
  }
  if (left_ > kMaxControlFrameBytes) {
    return absl::InvalidArgumentError(
        fmt::format("a control frame of {} bytes, more than {}", left_, kMaxControlFrameBytes));
  }
  return absl::OkStatus();
}

absl::Status SpdyFrameReader::Read(std::string_view bytes, Visitor& visitor) {
  while (!bytes.empty()) {
    if (header_.size() < kSpdyFrameHeaderBytes) {
      const size_t take = std::min(bytes.size(), kSpdyFrameHeaderBytes - header_.size());
      header_.append(bytes.substr(0, take));
      bytes.remove_prefix(take);
      if (header_.size() < kSpdyFrameHeaderBytes) {
        break;
      }
      RETURN_IF_ERROR(OnHeader());
    }
    const std::string_view piece = bytes.substr(0, left_);
    bytes.remove_prefix(piece.size());
    left_ -= piece.size();
    const uint8_t flags = static_cast<uint8_t>(header_[4]);
    if (!is_control_) {
      RETURN_IF_ERROR(visitor.OnData(wire_format::Get32(header_.data()), flags, piece, left_ == 0));
    } else {
      payload_.append(piece);
      if (left_ == 0) {
        RETURN_IF_ERROR(visitor.OnControl(wire_format::Get16(header_.data() + 2), flags, payload_));
        payload_.clear();
      }
    }
    if (left_ == 0) {
      header_.clear();
    }
  }
  return absl::OkStatus();
}

void SetSpdyDataHeader(char* at, uint32_t stream, uint8_t flags, size_t size) {
  wire_format::Set32(at, stream);
  wire_format::Set32(at + 4, uint32_t{flags} << 24 | static_cast<uint32_t>(size));
}

std::string SpdyDataFrame(uint32_t stream, uint8_t flags, std::string_view bytes) {
  std::string frame(kSpdyFrameHeaderBytes, '\0');
  SetSpdyDataHeader(frame.data(), stream, flags, bytes.size());
  return frame.append(bytes);
}

std::string SpdyControlFrame(SpdyType type, uint8_t flags, std::string_view payload) {
  std::string frame;
  wire_format::Put32(frame, 0x80000000u | uint32_t{kVersion} << 16 | static_cast<uint32_t>(type));
  wire_format::Put32(frame, uint32_t{flags} << 24 | static_cast<uint32_t>(payload.size()));
  return frame.append(payload);
}

std::string SpdyControlFrame(SpdyType type, uint32_t first) {
  std::string payload;
  wire_format::Put32(payload, first);
  return SpdyControlFrame(type, 0, payload);
}

std::string SpdyControlFrame(SpdyType type, uint32_t first, uint32_t second) {
  std::string payload;
  wire_format::Put32(payload, first);
  wire_format::Put32(payload, second);
  return SpdyControlFrame(type, 0, payload);
}

}  // namespace berth::streaming
