// Changes to the headers that TarBuilder makes, and archives of one entry.
#pragma once

#include <cstring>
#include <functional>
#include <string_view>

#include "lib/archive/testing/tar_builder.h"
#include "lib/archive/testing/tar_listing.h"

namespace berth::archive {

inline std::function<void(char*)> Magic(std::string_view magic) {
  return [magic](char* block) {
    std::memset(block + 257, 0, 8);
    std::memcpy(block + 257, magic.data(), magic.size());
  };
}
inline constexpr std::string_view kGnuMagic("ustar  \0", 8);

inline std::function<void(char*)> Put(size_t at, std::string_view text,
                                      std::string_view magic = {"ustar\00000", 8}) {
  return [=](char* block) {
    Magic(magic)(block);
    std::memcpy(block + at, text.data(), text.size());
  };
}

// One entry alone.
inline TarListing ReadOne(const TarBuilder::Entry& entry) {
  return ReadTar(TarBuilder().Add(entry).Finish());
}

}  // namespace berth::archive
