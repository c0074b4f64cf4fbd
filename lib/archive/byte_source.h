// ByteSource: a stream of bytes that is pulled, in pieces of the source's own choosing.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"

namespace berth::archive {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // The next piece, valid until the next call; empty at the end of the stream (and again when
  // called after it).
  virtual absl::StatusOr<std::string_view> Next() = 0;
};

}  // namespace berth::archive
