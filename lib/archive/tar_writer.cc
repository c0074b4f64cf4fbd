#include "lib/archive/tar_writer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::archive {

namespace {

constexpr size_t kBlock = 512;
constexpr size_t kMaxName = 100;
constexpr uint64_t kMaxSize = 077777777777;  // eleven octal digits
constexpr char kFile = '0';
constexpr char kDirectory = '5';
constexpr char kPax = 'x';

// Where fields are in a header (POSIX pax, ustar).
constexpr size_t kModeAt = 100, kUidAt = 108, kGidAt = 116, kSizeAt = 124, kTimeAt = 136,
                 kSumAt = 148, kTypeAt = 156, kMagicAt = 257;

std::array<char, kBlock> Header(std::string_view name, char type, uint64_t size) {
  std::array<char, kBlock> block = {};
  const auto put = [&](size_t at, std::string_view text) {
    std::copy(text.begin(), text.end(), block.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(0, name.substr(0, kMaxName));
  put(kModeAt, type == kDirectory ? "0000755" : "0000644");
  put(kUidAt, "0000000");
  put(kGidAt, "0000000");
  put(kSizeAt, fmt::format("{:011o}", std::min(size, kMaxSize)));
  put(kTimeAt, "00000000000");
  put(kSumAt, "        ");  // as which it counts in itself
  block[kTypeAt] = type;
  put(kMagicAt, std::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : block) {
    sum += static_cast<unsigned char>(c);
  }
  put(kSumAt, fmt::format("{:06o}", sum));
  block[kSumAt + 6] = '\0';
  return block;
}

// "LENGTH KEY=VALUE\n", where the length counts itself.
std::string PaxRecord(std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (fmt::format("{}", length).size() + rest != length) {
    length = fmt::format("{}", length).size() + rest;
  }
  return fmt::format("{} {}={}\n", length, key, value);
}

uint64_t PaddingOf(uint64_t size) { return (kBlock - size % kBlock) % kBlock; }

}  // namespace

absl::Status TarWriter::Pad(uint64_t size) {
  static constexpr std::array<char, kBlock> kZeros = {};
  return size == 0 ? absl::OkStatus() : sink_({kZeros.data(), size});
}

absl::Status TarWriter::Entry(const std::string& path, char type, uint64_t size) {
  RETURN_IF_ERROR(EndFile());
  std::string records;
  if (path.size() > kMaxName) {
    records += PaxRecord("path", path);
  }
  if (size > kMaxSize) {
    records += PaxRecord("size", fmt::format("{}", size));
  }
  if (!records.empty()) {
    const auto block = Header("PaxHeader", kPax, records.size());
    RETURN_IF_ERROR(sink_({block.data(), block.size()}));
    RETURN_IF_ERROR(sink_(records));
    RETURN_IF_ERROR(Pad(PaddingOf(records.size())));
  }
  const auto block = Header(path, type, size);
  missing_ = size;
  padding_ = PaddingOf(size);
  return sink_({block.data(), block.size()});
}

absl::Status TarWriter::EndFile() {
  if (missing_ != 0) {
    return absl::InvalidArgumentError(
        fmt::format("a file of the archive lacks {} bytes", missing_));
  }
  return Pad(std::exchange(padding_, 0));
}

absl::Status TarWriter::Directory(const std::string& path) { return Entry(path, kDirectory, 0); }

absl::Status TarWriter::BeginFile(const std::string& path, uint64_t size) {
  return Entry(path, kFile, size);
}

absl::Status TarWriter::Write(std::string_view piece) {
  if (piece.size() > missing_) {
    return absl::InvalidArgumentError("a file of the archive has more bytes than announced");
  }
  missing_ -= piece.size();
  return piece.empty() ? absl::OkStatus() : sink_(piece);
}

absl::Status TarWriter::File(const std::string& path, std::string_view content) {
  RETURN_IF_ERROR(BeginFile(path, content.size()));
  return Write(content);
}

absl::Status TarWriter::Finish() {
  RETURN_IF_ERROR(EndFile());
  RETURN_IF_ERROR(Pad(kBlock));
  return Pad(kBlock);
}

}  // namespace berth::archive
