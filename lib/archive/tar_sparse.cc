// TarReader's maps of sparse files.
#include <charconv>
#include <limits>

#include "fmt/format.h"

#include "lib/archive/tar_reader.h"
#include "lib/base/status.h"

namespace berth::archive {

absl::Status TarReader::ReadOldGnuMap(const char* block) {
  ASSIGN_OR_RETURN(bool more, ParseOldGnuSparse(block, map_));
  while (more) {
    RETURN_IF_ERROR(ChargeHeader(kTarBlock));
    ASSIGN_OR_RETURN(const char* next, ReadBlock());
    if (next == nullptr) {
      return absl::DataLossError("the tar stream ends in the map of a sparse file");
    }
    ASSIGN_OR_RETURN(more, ParseOldGnuSparseMore(next, map_));
  }
  return absl::OkStatus();
}

// Decimal numbers, each with a newline: how many pieces, then offset and size of each; filled up
// with zeros to whole blocks.
absl::Status TarReader::ReadMapInContent() {
  std::string digits;
  uint64_t pieces = 0;
  bool has_count = false;
  bool has_offset = false;
  while (!has_count || map_.size() < pieces || has_offset) {
    if (body_ < kTarBlock) {
      return absl::DataLossError("the map of a sparse file is longer than its content");
    }
    RETURN_IF_ERROR(ChargeHeader(kTarBlock));
    ASSIGN_OR_RETURN(const char* block, ReadBlock());
    if (block == nullptr) {
      return absl::DataLossError("the tar stream ends in the map of a sparse file");
    }
    body_ -= kTarBlock;
    for (size_t i = 0; i < kTarBlock && (!has_count || map_.size() < pieces || has_offset); ++i) {
      if (block[i] != '\n') {
        digits.push_back(block[i]);
        if (digits.size() > std::numeric_limits<uint64_t>::digits10) {
          return absl::DataLossError("the map of a sparse file has a number that is too large");
        }
        continue;
      }
      uint64_t number = 0;
      const auto [end, error] =
          std::from_chars(digits.data(), digits.data() + digits.size(), number);
      if (error != std::errc() || end != digits.data() + digits.size()) {
        return absl::DataLossError("the map of a sparse file has something that is no number");
      }
      digits.clear();
      if (!has_count) {
        has_count = true;
        pieces = number;
      } else if (!has_offset) {
        has_offset = true;
        map_.push_back({number, 0});
      } else {
        has_offset = false;
        map_.back().size = number;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status TarReader::CheckMap(const TarEntry& entry) {
  uint64_t end = 0;
  uint64_t total = 0;
  for (const SparsePiece& piece : map_) {
    if (piece.offset < end || piece.offset > entry.size || piece.size > entry.size - piece.offset) {
      return absl::DataLossError(fmt::format(
          "entry '{:.256}': the map of the sparse file has {} bytes at {}, after {} and in a file "
          "of {}",
          entry.name, piece.size, piece.offset, end, entry.size));
    }
    end = piece.offset + piece.size;
    total += piece.size;
  }
  if (total != body_) {
    return absl::DataLossError(
        fmt::format("entry '{:.256}': the map of the sparse file is of {} bytes, and {} are there",
                    entry.name, total, body_));
  }
  if (!map_.empty()) {
    offset_ = map_.front().offset;
  }
  return absl::OkStatus();
}

}  // namespace berth::archive
