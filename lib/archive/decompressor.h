// Decompressor: a ByteSource with the plain bytes of another one, which may be gzip (any number of
// members, RFC 1952), zstd (any number of frames, RFC 8878) or plain: its first bytes decide.
//
// Checksums of both formats are verified. A stream that ends inside a member or frame is an error,
// and so are bytes after the last one that do not start another. A zstd window larger than 128 MiB
// is refused (zstd's own limit); where it is kept says window_memory.h.
//
// Threads: one owner. Ownership: borrows the source and scratch_dir. Errors: kDataLoss naming the
// byte of the compressed stream; kResourceExhausted: no room for a window; the source's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lib/archive/byte_source.h"
#include "lib/oci/image.h"

namespace berth::archive {

class Decompressor : public ByteSource {
 public:
  static constexpr size_t kOutputBytes = 256 << 10;  // the largest piece

  // scratch_dir: a directory on the disk, see WindowMemory.
  explicit Decompressor(ByteSource& source, int scratch_dir = -1);
  ~Decompressor() override;

  absl::StatusOr<std::string_view> Next() override;

  // Known after the first Next().
  oci::LayerCompression compression() const { return compression_; }
  // Compressed bytes taken from the source so far.
  uint64_t bytes_in() const { return bytes_in_; }

  // One format. Feed() gets a piece, then Produce() is called until it returns nothing.
  class Codec {
   public:
    virtual ~Codec() = default;
    virtual void Feed(std::string_view input) = 0;
    // Fills `output`; returns how many bytes; 0: the input is used up.
    virtual absl::StatusOr<size_t> Produce(char* output, size_t size) = 0;
    // The input so far is a whole stream: nothing is missing.
    virtual bool AtEnd() const = 0;
    // Bytes of the last Feed() that are not used yet.
    virtual size_t unused() const = 0;
  };

 private:
  absl::Status Detect();
  absl::StatusOr<std::string_view> Pull();

  ByteSource& source_;
  const int scratch_dir_;
  bool detected_ = false;
  bool ended_ = false;
  std::string start_;         // the first bytes, gathered until the format is known
  std::string_view pending_;  // input taken from the source and not yet given on
  oci::LayerCompression compression_ = oci::LayerCompression::kNone;
  std::unique_ptr<Codec> codec_;  // none: plain
  std::unique_ptr<char[]> output_;
  uint64_t bytes_in_ = 0;
};

}  // namespace berth::archive
