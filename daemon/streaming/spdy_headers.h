// Header blocks of SPDY/3.1: names and values, deflated with a dictionary in one zlib stream for
// each direction of a connection.
//
// Threads: one at a time. Limits: a block inflates to at most kMaxHeaderBlockBytes and holds at
// most kMaxHeaders names; the inflater takes 40 KB once it is used.
// Source: SPDY draft 3.1, 2.6.10 "Name/Value Header Block".
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "zlib.h"

#include "daemon/streaming/client_stream.h"

namespace berth::streaming {

// The dictionary that both ends start from.
const std::string& SpdyDictionary();

class SpdyHeaderReader {
 public:
  SpdyHeaderReader() = default;
  ~SpdyHeaderReader();
  SpdyHeaderReader(const SpdyHeaderReader&) = delete;
  SpdyHeaderReader& operator=(const SpdyHeaderReader&) = delete;

  // The next block. kInvalidArgument: not deflated, too large, or malformed; no further block can
  // be read then, since the stream is out of step.
  absl::StatusOr<StreamHeaders> Read(std::string_view block);

 private:
  absl::StatusOr<std::string> Inflate(std::string_view block);

  z_stream zlib_ = {};
  bool started_ = false;
};

// Writes the only block that a server of ours sends, one without names. What it writes is stored
// and not compressed, so that no state is kept.
class SpdyHeaderWriter {
 public:
  std::string NextEmptyBlock();

 private:
  bool started_ = false;
};

}  // namespace berth::streaming
