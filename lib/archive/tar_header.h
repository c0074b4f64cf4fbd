// One block of 512 bytes as a tar header: v7, ustar, star, and old GNU, which differ only in what
// the fields after the link's name mean. Pure functions; nothing is owned, views are into the
// block.
//
// Errors: kDataLoss: wrong checksum, or a field that is no number or too large.
// Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace berth::archive {

constexpr size_t kTarBlock = 512;

struct TarHeader {
  enum class Format { kV7, kUstar, kGnu };
  Format format = Format::kV7;
  char type = '\0';
  std::string_view name;    // of at most 100 bytes
  std::string_view prefix;  // what goes in front of it, with a "/"; empty: nothing
  std::string_view link;
  int64_t mode = 0;
  int64_t uid = 0;
  int64_t gid = 0;
  int64_t size = 0;  // of what follows in the stream
  int64_t mtime = 0;
  int64_t dev_major = 0;  // of devices
  int64_t dev_minor = 0;
};

bool IsZeroBlock(const char* block);

absl::StatusOr<TarHeader> ParseTarHeader(const char* block);

// A field of octal digits between blanks or zero bytes, or GNU's base 256, which may be negative.
// Blank is 0. `what` is for messages.
absl::StatusOr<int64_t> ParseTarNumber(std::string_view field, std::string_view what);

// A piece of a sparse file: where in the file so many bytes of the stream belong.
struct SparsePiece {
  uint64_t offset = 0;
  uint64_t size = 0;
};

// The part of a sparse file's map that an old GNU header ('S') has, or a block that follows one.
// Appends to `map`; returns whether one more such block follows.
absl::StatusOr<bool> ParseOldGnuSparse(const char* header, std::vector<SparsePiece>& map);
absl::StatusOr<bool> ParseOldGnuSparseMore(const char* block, std::vector<SparsePiece>& map);
// How large the file of an old GNU header is with its holes.
absl::StatusOr<int64_t> ParseOldGnuRealSize(const char* header);

}  // namespace berth::archive
