// RepairTar: gives the headers of a tar stream the checksums that they should have, so that what is
// changed in them reaches the parser.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

namespace berth::fuzz {

inline void RepairTar(std::string& tar) {
  constexpr size_t kBlock = 512;
  for (size_t at = 0; at + kBlock <= tar.size(); at += kBlock) {
    char* const block = tar.data() + at;
    if (std::string_view(block, kBlock).find_first_not_of('\0') == std::string_view::npos) {
      continue;
    }
    std::memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < kBlock; ++i) {
      sum += static_cast<unsigned char>(block[i]);
    }
    std::snprintf(block + 148, 7, "%06o", sum);
    uint64_t size = 0;
    for (size_t i = 124; i < 135 && block[i] >= '0' && block[i] <= '7'; ++i) {
      size = size << 3 | static_cast<uint64_t>(block[i] - '0');
    }
    if (block[156] == '0' || block[156] > '6' || block[156] == '\0') {
      at += (size + kBlock - 1) / kBlock * kBlock;
    }
  }
}

}  // namespace berth::fuzz
