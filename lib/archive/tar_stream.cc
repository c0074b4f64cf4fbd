#include "lib/archive/tar_stream.h"

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::archive {

absl::StatusOr<std::string_view> TarStream::Next() {
  ASSIGN_OR_RETURN(const std::string_view piece, source_.Next());
  hash_.Update(piece);
  bytes_ += piece.size();
  if (bytes_ > limits_.max_unpacked_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("unpacks to more than {} bytes", limits_.max_unpacked_bytes));
  }
  if (bytes_ > limits_.free_unpacked_bytes &&
      (bytes_ - limits_.free_unpacked_bytes) / limits_.max_ratio > source_.bytes_in()) {
    return absl::ResourceExhaustedError(fmt::format("unpacks to more than {} times its {} bytes",
                                                    limits_.max_ratio, source_.bytes_in()));
  }
  return piece;
}

}  // namespace berth::archive
