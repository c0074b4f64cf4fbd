#include "lib/archive/recipe_reader.h"

#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::archive {

namespace {

constexpr size_t kBufferBytes = 128 << 10;
constexpr size_t kMaxPath = 8 << 10;
constexpr uint64_t kMaxRuns = 4 << 20;  // more than LayerLimits::max_header_bytes has room for

absl::StatusOr<size_t> ReadAt(int fd, char* to, size_t size, uint64_t offset) {
  while (true) {
    const ssize_t n = ::pread(fd, to, size, static_cast<off_t>(offset));
    if (n >= 0) {
      return static_cast<size_t>(n);
    }
    if (errno != EINTR) {
      return base::ErrnoStatus(errno, "read the layer's recipe");
    }
  }
}

}  // namespace

absl::Status BadRecipe(std::string_view what) {
  return absl::DataLossError(fmt::format("the layer's recipe {}", what));
}

void RecipeReader::FreeContext::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

RecipeReader::RecipeReader(int fd)
    : fd_(fd), zstd_(ZSTD_createDCtx()), compressed_(kBufferBytes), plain_(kBufferBytes) {
  BERTH_CHECK(zstd_ != nullptr);
}

RecipeReader::~RecipeReader() = default;

absl::StatusOr<RecipeHeader> RecipeReader::ReadHeader() {
  char bytes[kRecipeHeaderBytes];
  ASSIGN_OR_RETURN(const size_t size, ReadAt(fd_, bytes, sizeof(bytes), 0));
  RecipeHeader header;
  if (!header.Decode({bytes, size})) {
    return BadRecipe("is empty, unfinished or none");
  }
  if (header.version != kRecipeVersion) {
    return BadRecipe(
        fmt::format("is of version {}; this program knows {}", header.version, kRecipeVersion));
  }
  return header;
}

absl::StatusOr<bool> RecipeReader::Fill() {
  while (bytes_.empty()) {
    if (frame_ended_) {
      return false;
    }
    if (in_at_ == in_end_ && !has_more_) {
      ASSIGN_OR_RETURN(in_end_, ReadAt(fd_, compressed_.data(), compressed_.size(), offset_));
      in_at_ = 0;
      offset_ += in_end_;
      if (in_end_ == 0) {
        return BadRecipe("is cut off");
      }
    }
    ZSTD_inBuffer in = {compressed_.data(), in_end_, in_at_};
    ZSTD_outBuffer out = {plain_.data(), plain_.size(), 0};
    const size_t left = ZSTD_decompressStream(zstd_.get(), &out, &in);
    if (ZSTD_isError(left) != 0) {
      return BadRecipe(fmt::format("is damaged: {}", ZSTD_getErrorName(left)));
    }
    in_at_ = in.pos;
    frame_ended_ = left == 0;
    has_more_ = out.pos == out.size;
    bytes_ = {plain_.data(), out.pos};
  }
  return true;
}

absl::StatusOr<uint64_t> RecipeReader::ReadNumber() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) {
      return BadRecipe("ends in a record");
    }
    const unsigned char byte = static_cast<unsigned char>(bytes_.front());
    bytes_.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) {
      return value;
    }
  }
  return BadRecipe("has a number of more than 64 bits");
}

absl::Status RecipeReader::ReadText(size_t size, std::string& out) {
  out.clear();
  while (out.size() < size) {
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) {
      return BadRecipe("ends in a record");
    }
    const std::string_view part = bytes_.substr(0, size - out.size());
    out.append(part);
    bytes_.remove_prefix(part.size());
  }
  return absl::OkStatus();
}

absl::Status RecipeReader::ReadRuns(Record& record) {
  std::string hash;
  RETURN_IF_ERROR(ReadText(sizeof(uint64_t), hash));
  record.hash = DecodeFixed64(hash.data());
  ASSIGN_OR_RETURN(const uint64_t runs, ReadNumber());
  if (runs > kMaxRuns) {
    return BadRecipe(fmt::format("has a file of {} pieces", runs));
  }
  uint64_t end = 0;
  for (uint64_t i = 0; i < runs; ++i) {
    ASSIGN_OR_RETURN(const uint64_t gap, ReadNumber());
    ASSIGN_OR_RETURN(const uint64_t size, ReadNumber());
    if (gap > record.size - end || size > record.size - end - gap) {
      return BadRecipe(fmt::format("has a piece beyond the end of '{}'", record.path));
    }
    record.runs.push_back({end + gap, size});
    end += gap + size;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> RecipeReader::Next(Record& record) {
  while (record_left_ > 0) {
    ASSIGN_OR_RETURN(const std::string_view skipped, ReadBytes());
    (void)skipped;
  }
  ASSIGN_OR_RETURN(const bool more, Fill());
  if (!more) {
    return false;
  }
  const unsigned char type = static_cast<unsigned char>(bytes_.front());
  bytes_.remove_prefix(1);
  record.type = static_cast<RecipeRecord>(type);
  record.path.clear();
  record.runs.clear();
  if (type < static_cast<unsigned char>(RecipeRecord::kRaw) ||
      type > static_cast<unsigned char>(RecipeRecord::kKept)) {
    return BadRecipe(fmt::format("has a record of unknown type {}", type));
  }
  if (record.type != RecipeRecord::kRaw) {
    ASSIGN_OR_RETURN(const uint64_t length, ReadNumber());
    if (length > kMaxPath) {
      return BadRecipe(fmt::format("has a path of {} bytes", length));
    }
    RETURN_IF_ERROR(ReadText(static_cast<size_t>(length), record.path));
  }
  ASSIGN_OR_RETURN(record.size, ReadNumber());
  if (record.type == RecipeRecord::kContent) {
    RETURN_IF_ERROR(ReadRuns(record));
  } else {
    record_left_ = record.size;
  }
  return true;
}

absl::StatusOr<std::string_view> RecipeReader::ReadBytes() {
  if (record_left_ == 0) {
    return std::string_view();
  }
  ASSIGN_OR_RETURN(const bool more, Fill());
  if (!more) {
    return BadRecipe("ends in a record");
  }
  const std::string_view part =
      bytes_.substr(0, static_cast<size_t>(std::min<uint64_t>(record_left_, bytes_.size())));
  bytes_.remove_prefix(part.size());
  record_left_ -= part.size();
  return part;
}

}  // namespace berth::archive
