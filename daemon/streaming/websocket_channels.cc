#include "daemon/streaming/websocket_channels.h"

#include <algorithm>

#include "absl/strings/escaping.h"

#include "lib/base/status.h"

namespace berth::streaming {

namespace {

constexpr uint8_t kCloseSignal = 255;
constexpr size_t kQuad = 4;

}  // namespace

absl::Status ChannelReader::Read(std::string_view piece, bool last, Visitor& visitor) {
  if (channel_ < 0 && !piece.empty()) {
    const uint8_t first = static_cast<uint8_t>(piece[0]);
    channel_ = coding_.base64 ? static_cast<uint8_t>(first - '0') : first;
    piece.remove_prefix(1);
  }
  if (channel_ >= 0) {
    const uint8_t channel = static_cast<uint8_t>(channel_);
    if (coding_.close_signal && channel == kCloseSignal) {
      for (const char ended : piece) {
        visitor.OnChannelEnd(static_cast<uint8_t>(ended));
      }
    } else if (coding_.base64) {
      RETURN_IF_ERROR(Decode(piece, last, visitor));
    } else if (!piece.empty()) {
      visitor.OnChannelData(channel, piece);
    }
  }
  if (last) {
    channel_ = -1;
    padded_ = false;
  }
  return absl::OkStatus();
}

absl::Status ChannelReader::Decode(std::string_view text, bool last, Visitor& visitor) {
  quad_.append(text);
  const size_t whole = quad_.size() / kQuad * kQuad;
  // Without the padding at its end a message is understood too.
  const size_t take = last ? quad_.size() : whole;
  if (take == 0) {
    return absl::OkStatus();
  }
  std::string bytes;
  if (padded_ || !absl::Base64Unescape(quad_.substr(0, take), &bytes)) {
    return absl::InvalidArgumentError("a message is not base64");
  }
  padded_ = quad_[take - 1] == '=';
  quad_.erase(0, take);
  if (!bytes.empty()) {
    visitor.OnChannelData(static_cast<uint8_t>(channel_), bytes);
  }
  return absl::OkStatus();
}

std::string Base64Message(uint8_t channel, std::string_view bytes) {
  std::string message;
  absl::Base64Escape(absl::string_view(bytes.data(), bytes.size()), &message);
  message.insert(message.begin(), static_cast<char>('0' + channel));
  return message;
}

}  // namespace berth::streaming
