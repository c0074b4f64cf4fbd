// StringSource: a ByteSource over a string, in pieces of a chosen size.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "lib/archive/byte_source.h"

namespace berth::archive {

class StringSource : public ByteSource {
 public:
  explicit StringSource(std::string bytes, size_t piece = 1 << 16)
      : bytes_(std::move(bytes)), piece_(piece) {}

  absl::StatusOr<std::string_view> Next() override {
    const std::string_view piece = std::string_view(bytes_).substr(at_, piece_);
    at_ += piece.size();
    return piece;
  }

 private:
  const std::string bytes_;
  const size_t piece_;
  size_t at_ = 0;
};

}  // namespace berth::archive
