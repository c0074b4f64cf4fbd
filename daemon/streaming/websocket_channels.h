// The channel protocols over WebSocket: every message begins with the number of its channel, as a
// byte, or, in the base64 forms, as a digit before base64 text. Pure.
//
// Source: Kubernetes `channel.k8s.io`, `base64.channel.k8s.io`, their v4 forms and
// `v5.channel.k8s.io` (KEP 4006), in which the two bytes 255 and N say that channel N has ended.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace berth::streaming {

struct ChannelCoding {
  bool base64 = false;
  bool close_signal = false;  // v5
};

// Cuts messages into channels' bytes; as they come, nothing is collected.
class ChannelReader {
 public:
  class Visitor {
   public:
    virtual ~Visitor() = default;
    virtual void OnChannelData(uint8_t channel, std::string_view bytes) = 0;
    virtual void OnChannelEnd(uint8_t channel) = 0;
  };

  explicit ChannelReader(ChannelCoding coding) : coding_(coding) {}
  // A piece of the current message; `last`: its end. kInvalidArgument: no base64.
  absl::Status Read(std::string_view piece, bool last, Visitor& visitor);

 private:
  absl::Status Decode(std::string_view text, bool last, Visitor& visitor);

  const ChannelCoding coding_;
  int channel_ = -1;     // of the current message; -1: not read yet
  std::string quad_;     // base64 text that does not make whole bytes yet
  bool padded_ = false;  // base64's end was seen
};

// A message of the base64 form.
std::string Base64Message(uint8_t channel, std::string_view bytes);

}  // namespace berth::streaming
