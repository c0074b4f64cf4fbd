#include "lib/archive/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::archive {

namespace {

constexpr size_t kMaxXattrs = 1024;
constexpr size_t kMaxXattrTotal = 1 << 20;
constexpr long kNanosPerSecond = 1'000'000'000;

// Made once and kept. Without it names are taken as they are all the same, only more slowly.
locale_t Utf8Locale() {
  static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return locale;
}

// -1 means "leave as it is" to chown(2), so it is no id.
template <typename Id>
bool ToId(int64_t value, Id& id) {
  if (value < 0 || value >= static_cast<int64_t>(std::numeric_limits<uint32_t>::max())) {
    return false;
  }
  id = static_cast<Id>(value);
  return true;
}

absl::StatusOr<TarEntry::Kind> KindOf(::archive_entry* from) {
  if (::archive_entry_hardlink(from) != nullptr) {
    return TarEntry::Kind::kHardLink;
  }
  switch (::archive_entry_filetype(from)) {
    case AE_IFREG:
      return TarEntry::Kind::kFile;
    case AE_IFDIR:
      return TarEntry::Kind::kDirectory;
    case AE_IFLNK:
      return TarEntry::Kind::kSymlink;
    case AE_IFCHR:
      return TarEntry::Kind::kCharDevice;
    case AE_IFBLK:
      return TarEntry::Kind::kBlockDevice;
    case AE_IFIFO:
      return TarEntry::Kind::kFifo;
    default:
      return absl::DataLossError(fmt::format(
          "entry is of unknown type {:o}", static_cast<unsigned>(::archive_entry_filetype(from))));
  }
}

}  // namespace

TarReader::TarReader(ByteSource& source, const LayerLimits& limits)
    : source_(source), limits_(limits), reader_(::archive_read_new()) {
  BERTH_CHECK(reader_ != nullptr);
  ::archive_read_support_filter_none(reader_);
  ::archive_read_support_format_tar(reader_);
  if (Utf8Locale() != nullptr) {
    caller_locale_ = ::uselocale(Utf8Locale());
  }
}

TarReader::~TarReader() {
  ::archive_read_free(reader_);
  if (caller_locale_ != nullptr) {
    ::uselocale(caller_locale_);
  }
}

ssize_t TarReader::ReadCallback(::archive* /*reader*/, void* self, const void** buffer) {
  return static_cast<TarReader*>(self)->Read(buffer);
}

ssize_t TarReader::Read(const void** buffer) {
  std::string_view piece = std::exchange(first_, {});
  if (piece.empty()) {
    absl::StatusOr<std::string_view> next = source_.Next();
    if (!next.ok()) {
      source_error_ = next.status();
      ::archive_set_error(reader_, EIO, "source failed");
      return -1;
    }
    piece = *next;
  }
  if (in_header_) {
    // The first piece may hold other entries as well: it is what comes after it that must be
    // headers alone.
    if (header_bytes_ > limits_.max_header_bytes) {
      source_error_ = absl::ResourceExhaustedError(fmt::format(
          "the headers of one entry take more than {} bytes", limits_.max_header_bytes));
      ::archive_set_error(reader_, EIO, "headers too large");
      return -1;
    }
    header_bytes_ += piece.size();
  }
  *buffer = piece.data();
  return static_cast<ssize_t>(piece.size());
}

absl::Status TarReader::Error(std::string_view what) {
  if (!source_error_.ok()) {
    return source_error_;
  }
  const char* why = ::archive_error_string(reader_);
  return absl::DataLossError(fmt::format("{}: {}", what, why == nullptr ? "no reason given" : why));
}

absl::Status TarReader::Open() {
  open_ = true;
  if (::archive_read_open(reader_, this, nullptr, ReadCallback, nullptr) != ARCHIVE_OK) {
    return Error("not a tar stream");
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> TarReader::Next(TarEntry& entry) {
  if (!open_) {
    ASSIGN_OR_RETURN(first_, source_.Next());
    if (first_.empty()) {
      return false;  // a layer of no bytes has no files
    }
    RETURN_IF_ERROR(Open());
  }
  // Content nobody read is read here, not by libarchive, so that it does not count as headers.
  uint64_t offset;
  std::string_view piece;
  while (has_data_) {
    ASSIGN_OR_RETURN(has_data_, NextPiece(offset, piece));
  }
  ::archive_entry* found = nullptr;
  in_header_ = true;
  header_bytes_ = 0;
  const int result = ::archive_read_next_header(reader_, &found);
  in_header_ = false;
  if (result == ARCHIVE_EOF) {
    return false;
  }
  if (result != ARCHIVE_OK && result != ARCHIVE_WARN) {
    return Error("read tar header");
  }
  RETURN_IF_ERROR(Fill(found, entry));
  has_data_ = true;
  return true;
}

absl::StatusOr<bool> TarReader::NextPiece(uint64_t& offset, std::string_view& piece) {
  const void* data = nullptr;
  size_t size = 0;
  la_int64_t at = 0;
  while (true) {
    const int result = ::archive_read_data_block(reader_, &data, &size, &at);
    if (result == ARCHIVE_EOF) {
      has_data_ = false;
      return false;
    }
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) {
      return Error("read tar content");
    }
    if (at < 0) {
      return absl::DataLossError("read tar content: negative offset in a sparse map");
    }
    if (size > 0) {
      offset = static_cast<uint64_t>(at);
      piece = {static_cast<const char*>(data), size};
      return true;
    }
  }
}

absl::Status TarReader::Fill(::archive_entry* from, TarEntry& entry) {
  const char* name = ::archive_entry_pathname(from);
  if (name == nullptr) {
    return absl::DataLossError("read tar header: entry without a name");
  }
  entry.name = name;
  ASSIGN_OR_RETURN(entry.kind, KindOf(from));
  entry.link.clear();
  if (entry.kind == TarEntry::Kind::kHardLink || entry.kind == TarEntry::Kind::kSymlink) {
    const char* link = entry.kind == TarEntry::Kind::kSymlink ? ::archive_entry_symlink(from)
                                                              : ::archive_entry_hardlink(from);
    entry.link = link == nullptr ? "" : link;
  }
  entry.mode = ::archive_entry_perm(from) & 07777;
  if (!ToId(::archive_entry_uid(from), entry.uid) || !ToId(::archive_entry_gid(from), entry.gid)) {
    return absl::InvalidArgumentError(
        fmt::format("entry '{:.256}' has the owner {}:{}, which is no id", entry.name,
                    static_cast<int64_t>(::archive_entry_uid(from)),
                    static_cast<int64_t>(::archive_entry_gid(from))));
  }
  // Other values of tv_nsec mean "now" and "leave" to utimensat(2).
  entry.mtime.tv_sec = ::archive_entry_mtime(from);
  entry.mtime.tv_nsec = std::clamp(::archive_entry_mtime_nsec(from), 0L, kNanosPerSecond - 1);
  entry.device =
      entry.kind == TarEntry::Kind::kCharDevice || entry.kind == TarEntry::Kind::kBlockDevice
          ? makedev(::archive_entry_rdevmajor(from), ::archive_entry_rdevminor(from))
          : 0;
  entry.size = 0;
  if (entry.kind == TarEntry::Kind::kFile) {
    const la_int64_t size = ::archive_entry_size(from);
    if (size < 0) {
      return absl::DataLossError(fmt::format("entry '{:.256}' has a negative size", entry.name));
    }
    entry.size = static_cast<uint64_t>(size);
  }
  return FillXattrs(from, entry);
}

absl::Status TarReader::FillXattrs(::archive_entry* from, TarEntry& entry) const {
  entry.xattrs.clear();
  if (::archive_entry_xattr_count(from) == 0) {
    return absl::OkStatus();
  }
  size_t total = 0;
  const char* name;
  const void* value;
  size_t size;
  ::archive_entry_xattr_reset(from);
  while (::archive_entry_xattr_next(from, &name, &value, &size) == ARCHIVE_OK) {
    total += size;
    if (size > limits_.max_xattr_bytes || total > kMaxXattrTotal ||
        entry.xattrs.size() >= kMaxXattrs) {
      return absl::InvalidArgumentError(
          fmt::format("entry '{:.256}' has extended attributes beyond the limits ({} bytes each, "
                      "{} in all, {} of them)",
                      entry.name, limits_.max_xattr_bytes, kMaxXattrTotal, kMaxXattrs));
    }
    entry.xattrs.emplace_back(name, std::string(static_cast<const char*>(value), size));
  }
  return absl::OkStatus();
}

}  // namespace berth::archive
