// TarReader: the entries of a tar stream (ustar, pax, GNU), by libarchive with only its tar format
// and no filters.
//
// libarchive's own memory is bounded here: it may read no more than max_header_bytes for one
// entry's headers, so a long chain of extended headers or a sparse map of a billion pieces ends in
// an error (compare CVE-2025-58183). Names are bytes, whatever their encoding: the thread's locale
// is C.UTF-8 while a TarReader lives.
//
// Threads: made, used and destroyed on one thread. Ownership: borrows the source.
// Errors: kDataLoss with the byte of the stream; the source's own.
// Source: POSIX pax; GNU tar; libarchive 3.6.
#pragma once

#include <locale.h>
#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/archive/byte_source.h"
#include "lib/archive/layer_limits.h"

struct archive;
struct archive_entry;

namespace berth::archive {

struct TarEntry {
  enum class Kind { kFile, kDirectory, kSymlink, kHardLink, kCharDevice, kBlockDevice, kFifo };
  Kind kind = Kind::kFile;
  std::string name;  // as written
  std::string link;  // of symlinks and hard links, as written
  mode_t mode = 0;   // permissions with setuid, setgid, sticky
  uid_t uid = 0;
  gid_t gid = 0;
  struct timespec mtime = {0, 0};
  dev_t device = 0;
  uint64_t size = 0;  // of files, holes included
  std::vector<std::pair<std::string, std::string>> xattrs;
};

class TarReader {
 public:
  TarReader(ByteSource& source, const LayerLimits& limits);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // The next entry; false at the archive's end. What the entry before had left is skipped.
  absl::StatusOr<bool> Next(TarEntry& entry);
  // The next piece of the entry's content and where in the file it belongs (gaps are holes); false
  // at its end.
  absl::StatusOr<bool> NextPiece(uint64_t& offset, std::string_view& piece);

 private:
  static ssize_t ReadCallback(::archive* reader, void* self, const void** buffer);
  ssize_t Read(const void** buffer);
  absl::Status Error(std::string_view what);
  absl::Status Open();
  absl::Status Fill(::archive_entry* from, TarEntry& entry);
  absl::Status FillXattrs(::archive_entry* from, TarEntry& entry) const;

  ByteSource& source_;
  const LayerLimits& limits_;
  ::archive* reader_ = nullptr;
  bool open_ = false;
  bool in_header_ = false;
  bool has_data_ = false;
  size_t header_bytes_ = 0;
  std::string_view first_;     // read ahead to see whether there is anything at all
  absl::Status source_error_;  // what libarchive was told of only as "it failed"
  locale_t caller_locale_ = nullptr;
};

}  // namespace berth::archive
