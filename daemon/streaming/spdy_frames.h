// Frames of SPDY/3.1: cut from a byte stream, and written. Pure; knows nothing of streams' states.
//
// Data is passed on as it comes, in pieces, without a copy; control frames are collected, at most
// kMaxControlFrameBytes each.
// Threads: one at a time.
// Source: SPDY draft 3.1, 2.2 "Framing", 2.6 "Control frames".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace berth::streaming {

enum class SpdyType : uint16_t {
  kSynStream = 1,
  kSynReply = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kHeaders = 8,
  kWindowUpdate = 9,
};

inline constexpr uint8_t kSpdyFin = 1;
inline constexpr uint8_t kSpdyUnidirectional = 2;
inline constexpr size_t kSpdyFrameHeaderBytes = 8;
inline constexpr uint32_t kSpdyInitialWindow = 64 << 10;
inline constexpr uint32_t kSpdySettingInitialWindow = 7;

// RST_STREAM's reasons.
enum class SpdyReset : uint32_t {
  kProtocolError = 1,
  kInvalidStream = 2,
  kRefusedStream = 3,
  kCancel = 5,
  kFlowControlError = 7,
  kStreamAlreadyClosed = 9,
};

// GOAWAY's reasons.
enum class SpdyGoAway : uint32_t { kOk = 0, kProtocolError = 1 };

class SpdyFrameReader {
 public:
  class Visitor {
   public:
    virtual ~Visitor() = default;
    // A whole control frame; types that nobody knows come too. An error ends the session.
    virtual absl::Status OnControl(uint16_t type, uint8_t flags, std::string_view payload) = 0;
    // A piece of a data frame's payload; `last`: its end, perhaps empty.
    virtual absl::Status OnData(uint32_t stream, uint8_t flags, std::string_view piece,
                                bool last) = 0;
  };

  // The bytes that come next. kInvalidArgument: no SPDY/3.1, or a control frame that is too large;
  // or the visitor's. Nothing may follow an error.
  absl::Status Read(std::string_view bytes, Visitor& visitor);

 private:
  absl::Status OnHeader();

  std::string header_;   // of the frame being read, up to kSpdyFrameHeaderBytes
  std::string payload_;  // of a control frame being read
  bool is_control_ = false;
  size_t left_ = 0;  // of the frame's payload
};

// The header of a data frame; at has room for kSpdyFrameHeaderBytes.
void SetSpdyDataHeader(char* at, uint32_t stream, uint8_t flags, size_t size);
std::string SpdyDataFrame(uint32_t stream, uint8_t flags, std::string_view bytes);
std::string SpdyControlFrame(SpdyType type, uint8_t flags, std::string_view payload);
// RST_STREAM, PING, GOAWAY and WINDOW_UPDATE are one or two numbers.
std::string SpdyControlFrame(SpdyType type, uint32_t first);
std::string SpdyControlFrame(SpdyType type, uint32_t first, uint32_t second);

}  // namespace berth::streaming
