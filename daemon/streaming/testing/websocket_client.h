// WebSocketClient: the client's end of RFC 6455, blocking, byte by byte. For tests only.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "daemon/streaming/testing/raw_client.h"

namespace berth::streaming {

class WebSocketClient {
 public:
  static constexpr int kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10;
  struct Message {
    int opcode = 0;
    std::string bytes;
  };

  WebSocketClient(const std::string& url, const std::string& protocol) : raw_(url) {
    answer = raw_.Ask("GET",
                      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
                          (protocol.empty() ? "" : "Sec-WebSocket-Protocol: " + protocol + "\r\n"),
                      buffered_);
  }

  RawClient& raw() { return raw_; }
  static std::string Frame(std::string_view bytes, int opcode = kBinary, bool last = true) {
    std::string frame(1, static_cast<char>((last ? 0x80 : 0) | opcode));
    if (bytes.size() < 126) {
      frame += static_cast<char>(0x80 | bytes.size());
    } else {
      frame += static_cast<char>(0x80 | 127);
      for (int shift = 56; shift >= 0; shift -= 8) {
        frame += static_cast<char>(static_cast<uint64_t>(bytes.size()) >> shift);
      }
    }
    const std::string_view mask = "mask";
    frame += mask;
    for (size_t i = 0; i < bytes.size(); ++i) {
      frame += static_cast<char>(bytes[i] ^ mask[i % 4]);
    }
    return frame;
  }
  bool Send(std::string_view bytes, int opcode = kBinary, bool last = true) {
    return raw_.Send(Frame(bytes, opcode, last));
  }
  // The next frame; none at the end of the connection.
  std::optional<Message> Next() {
    if (!raw_.Fill(buffered_, 2)) {
      return std::nullopt;
    }
    Message message;
    message.opcode = buffered_[0] & 0x0f;
    size_t size = buffered_[1] & 0x7f;
    size_t begin = 2;
    if (size >= 126) {
      begin = size == 126 ? 4 : 10;
      if (!raw_.Fill(buffered_, begin)) {
        return std::nullopt;
      }
      size = 0;
      for (size_t i = 2; i < begin; ++i) {
        size = size << 8 | static_cast<unsigned char>(buffered_[i]);
      }
    }
    if (!raw_.Fill(buffered_, begin + size)) {
      return std::nullopt;
    }
    message.bytes = buffered_.substr(begin, size);
    buffered_.erase(0, begin + size);
    return message;
  }

  std::string answer;

 private:
  RawClient raw_;
  std::string buffered_;
};

}  // namespace berth::streaming
