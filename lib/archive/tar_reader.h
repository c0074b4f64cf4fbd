// TarReader: the entries of a tar stream: v7, ustar, star, pax, and GNU's with long names and
// sparse files (old GNU, 0.0, 0.1, 1.0).
//
// Which bytes are content and which are not is told to a TarTap, byte for byte, for the layer's
// recipe. Content is passed on without being copied; what is held is one entry's headers, at most
// LayerLimits::max_header_bytes of them, so a long chain of extended headers or a sparse map of a
// billion pieces ends in an error (compare CVE-2025-58183). Names are bytes, whatever their
// encoding.
//
// Where programs differ this follows Go's archive/tar, by which other runtimes unpack layers:
//   end         two blocks of zeros, or the end of the stream where a header could begin; what
//               follows is skipped. A single block of zeros is an error
//   no content  links, devices, directories and fifos have none, whatever their size says
//   pax         counts for the next entry alone and not for a long name ('L', 'K') between; global
//               headers ('g') are checked and otherwise ignored
//   long names  win over pax's
// and GNU tar where Go's leaves a choice: a file's name with a "/" at its end is a directory's,
// volume labels ('V') are skipped, 'D' is a directory. Other types, parts of multi-volume archives
// ('M') among them, are refused rather than taken for files.
//
// Threads: made, used and destroyed by one thread at a time. Ownership: borrows source and tap.
// Errors: kDataLoss: not a tar stream, or cut off; kInvalidArgument: an entry of unknown type, or
// whose owner is no id; kResourceExhausted: a limit; the source's and the tap's own.
// Source: POSIX.1-2017 pax; the GNU tar manual, "Tar Internals".
#pragma once

#include <sys/types.h>
#include <time.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/archive/byte_source.h"
#include "lib/archive/layer_limits.h"
#include "lib/archive/pax_header.h"
#include "lib/archive/tar_header.h"

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

// Sees every byte of the stream once, in order.
class TarTap {
 public:
  virtual ~TarTap() = default;
  // Bytes that NextPiece did not give out: headers, padding, content that was skipped, the end.
  virtual absl::Status Raw(std::string_view bytes) = 0;
  // A piece that NextPiece gives out now.
  virtual absl::Status Content(uint64_t offset, std::string_view bytes) = 0;
};

class TarReader {
 public:
  // tap: may be null.
  TarReader(ByteSource& source, const LayerLimits& limits, TarTap* tap = nullptr);
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // The next entry; false at the archive's end, when the source was read to its end as well. What
  // the entry before had left is skipped.
  absl::StatusOr<bool> Next(TarEntry& entry);
  // The next piece of the entry's content and where in the file it belongs (gaps are holes); false
  // at its end. Pieces ascend and lie within the entry's size. Valid until the next call.
  absl::StatusOr<bool> NextPiece(uint64_t& offset, std::string_view& piece);

 private:
  // What stands in front of an entry's own header.
  struct Extension {
    bool has_pax = false;
    PaxHeader pax;
    std::string long_name;
    std::string long_link;
  };

  // Makes bytes_ not empty; false at the stream's end.
  absl::StatusOr<bool> Fill();
  absl::Status TapRaw(std::string_view bytes);
  // The next block; null at the stream's end. Valid until the next read.
  absl::StatusOr<const char*> ReadBlock();
  absl::Status SkipBody();
  absl::Status Skip(uint64_t count);
  absl::Status ReadEnd();

  absl::Status ChargeHeader(uint64_t bytes);
  absl::Status ReadMeta(const TarHeader& header, std::string& out);
  // Whether `header` was one that only says something about the next.
  absl::StatusOr<bool> ReadExtension(const TarHeader& header);
  absl::Status ReadEntry(const TarHeader& header, const char* block, TarEntry& entry);
  absl::Status SetKind(const TarHeader& header, TarEntry& entry) const;
  absl::Status SetAttributes(const TarHeader& header, TarEntry& entry);
  absl::Status SetBody(const TarHeader& header, const char* block, TarEntry& entry);
  // tar_sparse.cc
  absl::Status ReadOldGnuMap(const char* block);
  absl::Status ReadMapInContent();
  absl::Status CheckMap(const TarEntry& entry);

  ByteSource& source_;
  const LayerLimits& limits_;
  TarTap* const tap_;
  std::string_view bytes_;  // what is left of the source's last piece
  bool is_tar_ = false;     // there was a header
  std::array<char, kTarBlock> block_;
  std::string records_;
  Extension extension_;
  uint64_t header_bytes_ = 0;  // of this entry

  uint64_t body_ = 0;  // bytes of the stream that belong to the entry and were not read
  uint64_t padding_ = 0;
  uint64_t offset_ = 0;  // where in the file the next byte belongs
  bool is_sparse_ = false;
  std::vector<SparsePiece> map_;
  size_t map_at_ = 0;  // the piece that is being read
};

}  // namespace berth::archive
