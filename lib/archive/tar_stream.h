// TarStream: passes a stream on while hashing and counting it, and stops one that unpacks to too
// much.
#pragma once

#include <cstdint>

#include "lib/archive/byte_source.h"
#include "lib/archive/decompressor.h"
#include "lib/archive/layer_limits.h"
#include "lib/oci/sha256.h"

namespace berth::archive {

class TarStream : public ByteSource {
 public:
  TarStream(Decompressor& source, const LayerLimits& limits) : source_(source), limits_(limits) {}

  // kResourceExhausted: more than max_unpacked_bytes, or than max_ratio allows for what was read.
  absl::StatusOr<std::string_view> Next() override;

  uint64_t bytes() const { return bytes_; }
  // Of everything passed on. Once.
  oci::Digest Finish() { return hash_.Finish(); }

 private:
  Decompressor& source_;
  const LayerLimits& limits_;
  oci::Sha256 hash_;
  uint64_t bytes_ = 0;
};

}  // namespace berth::archive
