// LayerLimits: how much of everything a hostile layer may ask for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace berth::archive {

struct LayerLimits {
  size_t buffer_bytes = 1 << 20;             // compressed bytes waiting for the disk
  uint64_t max_unpacked_bytes = 1ULL << 40;  // of the tar stream, and of all file sizes together
  // The tar stream may be max_ratio times the bytes read, plus free_unpacked_bytes: gzip reaches
  // 1032, so only a zstd bomb is hit.
  uint64_t max_ratio = 2000;
  uint64_t free_unpacked_bytes = 1ULL << 30;
  uint64_t max_entries = 10'000'000;
  size_t max_path_bytes = 4095;  // PATH_MAX with its zero byte
  size_t max_path_depth = 256;
  size_t max_xattr_bytes = 64 << 10;  // one value (XATTR_SIZE_MAX); 1 MiB for all of one entry
  size_t max_header_bytes = 4 << 20;  // of one entry: PAX records, long names, sparse maps
  size_t max_directory_bytes =
      256 << 20;  // memory for the attributes of directories, applied at the end
};

}  // namespace berth::archive
