#include "lib/archive/recipe_format.h"

namespace berth::archive {

namespace {

constexpr std::string_view kMagic = "berthrcp";
constexpr uint64_t kHasKept = 1;
constexpr uint64_t kIsLossy = 2;

}  // namespace

void AppendVarint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

void AppendFixed64(uint64_t value, std::string& out) {
  for (int i = 0; i < 8; ++i) {
    out.push_back(static_cast<char>(value >> (8 * i)));
  }
}

uint64_t DecodeFixed64(const char* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

std::string RecipeHeader::Encode() const {
  std::string out(kMagic);
  const uint64_t flags = (has_kept ? kHasKept : 0) | (is_lossy ? kIsLossy : 0);
  AppendFixed64(flags << 32 | version, out);
  AppendFixed64(tar_bytes, out);
  return out;
}

bool RecipeHeader::Decode(std::string_view bytes) {
  if (bytes.size() < kRecipeHeaderBytes || bytes.substr(0, kMagic.size()) != kMagic) {
    return false;
  }
  const uint64_t word = DecodeFixed64(bytes.data() + 8);
  version = static_cast<uint32_t>(word);
  has_kept = (word >> 32 & kHasKept) != 0;
  is_lossy = (word >> 32 & kIsLossy) != 0;
  tar_bytes = DecodeFixed64(bytes.data() + 16);
  return true;
}

}  // namespace berth::archive
