// How a layer's recipe is written down. Private to lib/archive; see layer_recipe.h.
//
//   RecipeHeader, kHeaderBytes long, written last: without it a recipe is unfinished
//   one zstd frame with a checksum, of records:
//     kRaw      size, bytes              the stream goes on with these
//     kContent  path, size, hash, runs: {gap, length}
//               ... with so many bytes of a file: for each run `gap` bytes after the one before
//     kKept     path, size, bytes        the file of that path was replaced: what it had been
//   Numbers are LEB128, hashes 8 bytes, the lowest first; texts have their length in front. Paths
//   lead to their files without symlinks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace berth::archive {

enum class RecipeRecord : unsigned char { kRaw = 1, kContent = 2, kKept = 3 };

constexpr uint32_t kRecipeVersion = 1;
constexpr size_t kRecipeHeaderBytes = 24;

struct RecipeHeader {
  uint32_t version = kRecipeVersion;
  bool has_kept = false;  // there are kKept records
  bool is_lossy = false;  // there should be more of them than recipes hold
  uint64_t tar_bytes = 0;

  // kRecipeHeaderBytes long.
  std::string Encode() const;
  // False: it is none.
  bool Decode(std::string_view bytes);
};

void AppendVarint(uint64_t value, std::string& out);
void AppendFixed64(uint64_t value, std::string& out);
uint64_t DecodeFixed64(const char* bytes);

}  // namespace berth::archive
