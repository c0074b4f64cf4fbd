#include "lib/archive/tar_header.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::archive {

namespace {

struct Field {
  size_t at;
  size_t size;
};
constexpr Field kName = {0, 100};
constexpr Field kMode = {100, 8};
constexpr Field kUid = {108, 8};
constexpr Field kGid = {116, 8};
constexpr Field kSize = {124, 12};
constexpr Field kMtime = {136, 12};
constexpr Field kChecksum = {148, 8};
constexpr size_t kType = 156;
constexpr Field kLink = {157, 100};
constexpr Field kMagic = {257, 8};  // with the version
constexpr std::string_view kGnuMagic("ustar  \0", 8);
constexpr Field kDevMajor = {329, 8};
constexpr Field kDevMinor = {337, 8};
constexpr Field kPrefix = {345, 155};
constexpr Field kStarPrefix = {345, 131};
constexpr Field kStarTrailer = {508, 4};
// Old GNU has these in place of the prefix.
constexpr Field kGnuAccessTime = {345, 12};
constexpr Field kGnuChangeTime = {357, 12};
constexpr size_t kGnuSparseMap = 386;
constexpr size_t kGnuSparseEntries = 4;
constexpr size_t kGnuIsExtended = 482;
constexpr Field kGnuRealSize = {483, 12};
// A block that goes on with the map.
constexpr size_t kMoreEntries = 21;
constexpr size_t kMoreIsExtended = 504;
constexpr size_t kSparseNumber = 12;

std::string_view Bytes(const char* block, const Field& field) {
  return {block + field.at, field.size};
}

std::string_view Text(const char* block, const Field& field) {
  const std::string_view bytes = Bytes(block, field);
  return bytes.substr(0, bytes.find('\0'));
}

absl::StatusOr<int64_t> Base256(std::string_view field, std::string_view what) {
  const bool is_negative = (field[0] & 0x40) != 0;
  const unsigned char flip = is_negative ? 0xff : 0;
  uint64_t value = 0;
  for (size_t i = 0; i < field.size(); ++i) {
    const unsigned char digit = static_cast<unsigned char>(field[i]) ^ flip;
    if (value >> 55 != 0) {
      return absl::DataLossError(
          fmt::format("header: {} is larger than 63 bits", std::string(what)));
    }
    value = value << 8 | (i == 0 ? digit & 0x3f : digit);
  }
  return is_negative ? -static_cast<int64_t>(value) - 1 : static_cast<int64_t>(value);
}

absl::Status CheckSum(const char* block) {
  ASSIGN_OR_RETURN(const int64_t stored, ParseTarNumber(Bytes(block, kChecksum), "checksum"));
  // The field itself counts as blanks. Some old programs added signed characters.
  int64_t sum = static_cast<int64_t>(kChecksum.size) * ' ';
  int64_t high = 0;
  for (size_t i = 0; i < kTarBlock; ++i) {
    sum += static_cast<unsigned char>(block[i]);
    high += static_cast<unsigned char>(block[i]) >> 7;
  }
  for (size_t i = kChecksum.at; i < kChecksum.at + kChecksum.size; ++i) {
    sum -= static_cast<unsigned char>(block[i]);
    high -= static_cast<unsigned char>(block[i]) >> 7;
  }
  if (stored != sum && stored != sum - 256 * high) {
    return absl::DataLossError(
        fmt::format("not a tar header: its checksum is {} and should be {}", stored, sum));
  }
  return absl::OkStatus();
}

// Programs in Go before 1.8 wrote GNU headers with ustar's prefix. Such a field is no time.
bool HasMistakenPrefix(const char* block) {
  for (const Field& field : {kGnuAccessTime, kGnuChangeTime}) {
    if (block[field.at] != '\0' && !ParseTarNumber(Bytes(block, field), "time").ok()) {
      const std::string_view prefix = Text(block, kPrefix);
      return std::all_of(prefix.begin(), prefix.end(), [](char c) { return (c & 0x80) == 0; });
    }
  }
  return false;
}

void ParseFormat(const char* block, TarHeader& header) {
  if (std::memcmp(block + kMagic.at, kGnuMagic.data(), kMagic.size) == 0) {
    header.format = TarHeader::Format::kGnu;
    if (HasMistakenPrefix(block)) {
      header.prefix = Text(block, kPrefix);
    }
  } else if (std::memcmp(block + kMagic.at, "ustar", 6) == 0) {
    header.format = TarHeader::Format::kUstar;
    const bool is_star = std::memcmp(block + kStarTrailer.at, "tar\0", kStarTrailer.size) == 0;
    header.prefix = Text(block, is_star ? kStarPrefix : kPrefix);
  }
}

absl::StatusOr<bool> ParseSparse(const char* at, size_t entries, bool is_extended,
                                 std::vector<SparsePiece>& map) {
  for (size_t i = 0; i < entries; ++i, at += 2 * kSparseNumber) {
    if (at[0] == '\0' || at[kSparseNumber] == '\0') {
      break;
    }
    ASSIGN_OR_RETURN(const int64_t offset, ParseTarNumber({at, kSparseNumber}, "sparse offset"));
    ASSIGN_OR_RETURN(const int64_t size,
                     ParseTarNumber({at + kSparseNumber, kSparseNumber}, "sparse size"));
    if (offset < 0 || size < 0) {
      return absl::DataLossError("header: negative number in the map of a sparse file");
    }
    map.push_back({static_cast<uint64_t>(offset), static_cast<uint64_t>(size)});
  }
  return is_extended;
}

}  // namespace

bool IsZeroBlock(const char* block) {
  return block[0] == '\0' && std::memcmp(block, block + 1, kTarBlock - 1) == 0;
}

absl::StatusOr<int64_t> ParseTarNumber(std::string_view field, std::string_view what) {
  if (!field.empty() && (field[0] & 0x80) != 0) {
    return Base256(field, what);
  }
  const auto is_blank = [](char c) { return c == ' ' || c == '\0'; };
  while (!field.empty() && is_blank(field.front())) {
    field.remove_prefix(1);
  }
  int64_t value = 0;
  for (size_t i = 0; i < field.size(); ++i) {
    if (is_blank(field[i])) {
      break;
    }
    // 12 digits, the longest field, have 36 bits.
    if (field[i] < '0' || field[i] > '7') {
      return absl::DataLossError(fmt::format("header: {} is no octal number", std::string(what)));
    }
    value = value << 3 | (field[i] - '0');
  }
  return value;
}

absl::StatusOr<TarHeader> ParseTarHeader(const char* block) {
  RETURN_IF_ERROR(CheckSum(block));
  TarHeader header;
  header.type = block[kType];
  header.name = Text(block, kName);
  header.link = Text(block, kLink);
  ParseFormat(block, header);
  ASSIGN_OR_RETURN(header.mode, ParseTarNumber(Bytes(block, kMode), "mode"));
  ASSIGN_OR_RETURN(header.uid, ParseTarNumber(Bytes(block, kUid), "uid"));
  ASSIGN_OR_RETURN(header.gid, ParseTarNumber(Bytes(block, kGid), "gid"));
  ASSIGN_OR_RETURN(header.size, ParseTarNumber(Bytes(block, kSize), "size"));
  ASSIGN_OR_RETURN(header.mtime, ParseTarNumber(Bytes(block, kMtime), "mtime"));
  if ((header.type == '3' || header.type == '4') && header.format != TarHeader::Format::kV7) {
    ASSIGN_OR_RETURN(header.dev_major, ParseTarNumber(Bytes(block, kDevMajor), "device's major"));
    ASSIGN_OR_RETURN(header.dev_minor, ParseTarNumber(Bytes(block, kDevMinor), "device's minor"));
  }
  return header;
}

absl::StatusOr<bool> ParseOldGnuSparse(const char* header, std::vector<SparsePiece>& map) {
  if (std::memcmp(header + kMagic.at, kGnuMagic.data(), kMagic.size) != 0) {
    return absl::DataLossError("header: a sparse file of old GNU in an archive that is none");
  }
  return ParseSparse(header + kGnuSparseMap, kGnuSparseEntries, header[kGnuIsExtended] != '\0',
                     map);
}

absl::StatusOr<bool> ParseOldGnuSparseMore(const char* block, std::vector<SparsePiece>& map) {
  return ParseSparse(block, kMoreEntries, block[kMoreIsExtended] != '\0', map);
}

absl::StatusOr<int64_t> ParseOldGnuRealSize(const char* header) {
  return ParseTarNumber(Bytes(header, kGnuRealSize), "real size");
}

}  // namespace berth::archive
