#include "lib/archive/tar_reader.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::archive {

namespace {

uint64_t PaddingOf(uint64_t size) { return (kTarBlock - size % kTarBlock) % kTarBlock; }

// -1 means "leave as it is" to chown(2), so it is no id.
bool IsId(int64_t value) {
  return value >= 0 && value < static_cast<int64_t>(std::numeric_limits<uint32_t>::max());
}

bool HasBody(char type) { return type < '1' || type > '6'; }

// With its padding it must not overflow.
absl::StatusOr<uint64_t> BodySize(int64_t size) {
  if (size < 0 || size > std::numeric_limits<int64_t>::max() - static_cast<int64_t>(kTarBlock)) {
    return absl::DataLossError(fmt::format("header: an entry's size is {}", size));
  }
  return static_cast<uint64_t>(size);
}

std::string_view UntilZero(std::string_view text) { return text.substr(0, text.find('\0')); }

}  // namespace

TarReader::TarReader(ByteSource& source, const LayerLimits& limits, TarTap* tap)
    : source_(source), limits_(limits), tap_(tap) {}

absl::StatusOr<bool> TarReader::Fill() {
  if (bytes_.empty()) {
    ASSIGN_OR_RETURN(bytes_, source_.Next());
  }
  return !bytes_.empty();
}

absl::Status TarReader::TapRaw(std::string_view bytes) {
  return tap_ == nullptr ? absl::OkStatus() : tap_->Raw(bytes);
}

absl::StatusOr<const char*> TarReader::ReadBlock() {
  ASSIGN_OR_RETURN(const bool more, Fill());
  if (!more) {
    return nullptr;
  }
  const char* block = bytes_.data();
  if (bytes_.size() >= kTarBlock) {
    bytes_.remove_prefix(kTarBlock);
  } else {
    size_t have = 0;
    while (have < kTarBlock) {
      ASSIGN_OR_RETURN(const bool has_more, Fill());
      if (!has_more) {
        return absl::DataLossError(
            fmt::format("the tar stream ends in the middle of a block, after {} bytes", have));
      }
      const size_t count = std::min(kTarBlock - have, bytes_.size());
      std::memcpy(block_.data() + have, bytes_.data(), count);
      bytes_.remove_prefix(count);
      have += count;
    }
    block = block_.data();
  }
  RETURN_IF_ERROR(TapRaw({block, kTarBlock}));
  return block;
}

absl::Status TarReader::Skip(uint64_t count) {
  while (count > 0) {
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) {
      return absl::DataLossError(
          fmt::format("the tar stream ends {} bytes before the end of an entry", count));
    }
    const size_t part = static_cast<size_t>(std::min<uint64_t>(count, bytes_.size()));
    RETURN_IF_ERROR(TapRaw(bytes_.substr(0, part)));
    bytes_.remove_prefix(part);
    count -= part;
  }
  return absl::OkStatus();
}

absl::Status TarReader::SkipBody() {
  const uint64_t left = body_ + padding_;
  body_ = 0;
  padding_ = 0;
  return Skip(left);
}

absl::Status TarReader::ReadEnd() {
  ASSIGN_OR_RETURN(const char* block, ReadBlock());
  if (block != nullptr && !IsZeroBlock(block)) {
    return absl::DataLossError("a single block of zeros, which ends no archive");
  }
  while (true) {
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(TapRaw(bytes_));
    bytes_ = {};
  }
}

absl::StatusOr<bool> TarReader::Next(TarEntry& entry) {
  RETURN_IF_ERROR(SkipBody());
  header_bytes_ = 0;
  extension_.has_pax = false;
  extension_.long_name.clear();
  extension_.long_link.clear();
  while (true) {
    ASSIGN_OR_RETURN(const char* block, ReadBlock());
    if (block == nullptr || IsZeroBlock(block)) {
      if (extension_.has_pax || !extension_.long_name.empty() || !extension_.long_link.empty()) {
        return absl::DataLossError("the tar stream ends after an extended header");
      }
      if (block != nullptr) {
        RETURN_IF_ERROR(ReadEnd());
      }
      return false;
    }
    const absl::StatusOr<TarHeader> parsed = ParseTarHeader(block);
    if (!parsed.ok()) {
      return is_tar_ ? parsed.status() : base::Annotate(parsed.status(), "not a tar stream");
    }
    is_tar_ = true;
    const TarHeader& header = *parsed;
    RETURN_IF_ERROR(ChargeHeader(kTarBlock));
    ASSIGN_OR_RETURN(const bool is_extension, ReadExtension(header));
    if (!is_extension) {
      RETURN_IF_ERROR(ReadEntry(header, block, entry));
      return true;
    }
  }
}

absl::Status TarReader::ChargeHeader(uint64_t bytes) {
  header_bytes_ += std::min(bytes, std::numeric_limits<uint64_t>::max() / 2);
  if (header_bytes_ > limits_.max_header_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("the headers of one entry take more than {} bytes", limits_.max_header_bytes));
  }
  return absl::OkStatus();
}

absl::Status TarReader::ReadMeta(const TarHeader& header, std::string& out) {
  ASSIGN_OR_RETURN(uint64_t size, BodySize(header.size));
  RETURN_IF_ERROR(ChargeHeader(size));
  const uint64_t padding = PaddingOf(size);
  out.clear();
  while (size > 0) {
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) {
      return absl::DataLossError("the tar stream ends in the middle of an extended header");
    }
    const std::string_view part =
        bytes_.substr(0, static_cast<size_t>(std::min<uint64_t>(size, bytes_.size())));
    RETURN_IF_ERROR(TapRaw(part));
    out.append(part);
    bytes_.remove_prefix(part.size());
    size -= part.size();
  }
  return Skip(padding);
}

absl::StatusOr<bool> TarReader::ReadExtension(const TarHeader& header) {
  switch (header.type) {
    case 'x':
    case 'g': {
      const bool is_global = header.type == 'g';
      RETURN_IF_ERROR(ReadMeta(header, records_));
      PaxHeader global;
      RETURN_IF_ERROR((is_global ? global : extension_.pax).Parse(records_, limits_));
      extension_.has_pax = extension_.has_pax || !is_global;
      return true;
    }
    case 'L':
    case 'K': {
      std::string& name = header.type == 'L' ? extension_.long_name : extension_.long_link;
      RETURN_IF_ERROR(ReadMeta(header, name));
      name.resize(UntilZero(name).size());
      return true;
    }
    case 'V': {
      ASSIGN_OR_RETURN(const uint64_t size, BodySize(header.size));
      RETURN_IF_ERROR(Skip(size + PaddingOf(size)));
      return true;
    }
    default:
      return false;
  }
}

absl::Status TarReader::ReadEntry(const TarHeader& header, const char* block, TarEntry& entry) {
  const PaxHeader* pax = extension_.has_pax ? &extension_.pax : nullptr;
  entry.name.assign(header.prefix);
  if (!entry.name.empty()) {
    entry.name.push_back('/');
  }
  entry.name.append(header.name);
  entry.link.assign(header.link);
  if (pax != nullptr) {
    entry.name = pax->path.value_or(std::move(entry.name));
    entry.link = pax->link.value_or(std::move(entry.link));
  }
  if (!extension_.long_name.empty()) {
    entry.name = extension_.long_name;
  }
  if (!extension_.long_link.empty()) {
    entry.link = extension_.long_link;
  }
  if (pax != nullptr && pax->sparse != PaxHeader::Sparse::kNone && pax->sparse_name.has_value()) {
    entry.name = *pax->sparse_name;
  }
  if (entry.name.empty()) {
    return absl::DataLossError("header: an entry without a name");
  }
  RETURN_IF_ERROR(SetKind(header, entry));
  RETURN_IF_ERROR(SetAttributes(header, entry));
  return SetBody(header, block, entry);
}

absl::Status TarReader::SetKind(const TarHeader& header, TarEntry& entry) const {
  using Kind = TarEntry::Kind;
  switch (header.type) {
    case '\0':
    case '0':
    case '7':
    case 'S':
      // From before there was a type for directories.
      entry.kind = entry.name.back() == '/' ? Kind::kDirectory : Kind::kFile;
      break;
    case '1':
      entry.kind = Kind::kHardLink;
      break;
    case '2':
      entry.kind = Kind::kSymlink;
      break;
    case '3':
      entry.kind = Kind::kCharDevice;
      break;
    case '4':
      entry.kind = Kind::kBlockDevice;
      break;
    case '5':
    case 'D':
      entry.kind = Kind::kDirectory;
      break;
    case '6':
      entry.kind = Kind::kFifo;
      break;
    default:
      return absl::InvalidArgumentError(
          fmt::format("entry '{:.256}' is of the unknown type {:#04x}", entry.name,
                      static_cast<unsigned char>(header.type)));
  }
  if (entry.kind != Kind::kHardLink && entry.kind != Kind::kSymlink) {
    entry.link.clear();
  }
  return absl::OkStatus();
}

absl::Status TarReader::SetAttributes(const TarHeader& header, TarEntry& entry) {
  int64_t uid = header.uid;
  int64_t gid = header.gid;
  entry.mtime = {header.mtime, 0};
  entry.xattrs.clear();
  if (extension_.has_pax) {
    PaxHeader& pax = extension_.pax;
    uid = pax.uid.value_or(uid);
    gid = pax.gid.value_or(gid);
    entry.mtime = pax.mtime.value_or(entry.mtime);
    entry.xattrs = std::move(pax.xattrs);
  }
  if (!IsId(uid) || !IsId(gid)) {
    return absl::InvalidArgumentError(
        fmt::format("entry '{:.256}' has the owner {}:{}, which is no id", entry.name, uid, gid));
  }
  entry.uid = static_cast<uid_t>(uid);
  entry.gid = static_cast<gid_t>(gid);
  entry.mode = static_cast<mode_t>(header.mode & 07777);
  entry.device = 0;
  if (entry.kind == TarEntry::Kind::kCharDevice || entry.kind == TarEntry::Kind::kBlockDevice) {
    // Linux has 12 and 20 bits.
    if (header.dev_major < 0 || header.dev_major >= 1 << 12 || header.dev_minor < 0 ||
        header.dev_minor >= 1 << 20) {
      return absl::InvalidArgumentError(
          fmt::format("entry '{:.256}' is the device {}:{}, which cannot be", entry.name,
                      header.dev_major, header.dev_minor));
    }
    entry.device =
        makedev(static_cast<unsigned>(header.dev_major), static_cast<unsigned>(header.dev_minor));
  }
  return absl::OkStatus();
}

absl::Status TarReader::SetBody(const TarHeader& header, const char* block, TarEntry& entry) {
  const PaxHeader* pax = extension_.has_pax ? &extension_.pax : nullptr;
  map_.clear();
  map_at_ = 0;
  offset_ = 0;
  is_sparse_ = false;
  entry.size = 0;
  // A directory of the oldest kind has none either.
  if (!HasBody(header.type) || (header.type == '\0' && entry.kind == TarEntry::Kind::kDirectory)) {
    return absl::OkStatus();
  }
  int64_t real_size = pax == nullptr ? header.size : pax->size.value_or(header.size);
  ASSIGN_OR_RETURN(body_, BodySize(real_size));
  padding_ = PaddingOf(body_);
  if (entry.kind != TarEntry::Kind::kFile) {
    padding_ += std::exchange(body_, 0);
    return absl::OkStatus();
  }
  if (header.type == 'S') {
    is_sparse_ = true;
    ASSIGN_OR_RETURN(real_size, ParseOldGnuRealSize(block));
    RETURN_IF_ERROR(ReadOldGnuMap(block));
  } else if (pax != nullptr && pax->sparse != PaxHeader::Sparse::kNone) {
    is_sparse_ = true;
    real_size = pax->sparse_size.value_or(real_size);
    if (pax->sparse == PaxHeader::Sparse::kMapHere) {
      map_ = pax->sparse_map;
    } else {
      RETURN_IF_ERROR(ReadMapInContent());
    }
  }
  if (real_size < 0) {
    return absl::DataLossError(fmt::format("entry '{:.256}' has a negative size", entry.name));
  }
  entry.size = static_cast<uint64_t>(real_size);
  return is_sparse_ ? CheckMap(entry) : absl::OkStatus();
}

absl::StatusOr<bool> TarReader::NextPiece(uint64_t& offset, std::string_view& piece) {
  if (body_ == 0) {
    return false;
  }
  uint64_t most = body_;
  if (is_sparse_) {
    while (map_[map_at_].size == 0) {
      offset_ = map_[++map_at_].offset;  // the sizes add up to body_, so there is another
    }
    most = map_[map_at_].size;
  }
  ASSIGN_OR_RETURN(const bool more, Fill());
  if (!more) {
    return absl::DataLossError(
        fmt::format("the tar stream ends {} bytes before the end of a file", body_));
  }
  piece = bytes_.substr(0, static_cast<size_t>(std::min<uint64_t>(most, bytes_.size())));
  bytes_.remove_prefix(piece.size());
  offset = offset_;
  offset_ += piece.size();
  body_ -= piece.size();
  if (is_sparse_) {
    map_[map_at_].size -= piece.size();
  }
  if (tap_ != nullptr) {
    RETURN_IF_ERROR(tap_->Content(offset, piece));
  }
  return true;
}

}  // namespace berth::archive
