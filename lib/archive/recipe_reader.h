// RecipeReader: the records of a layer's recipe (recipe_format.h), one after the other.
//
// Threads: one owner. Ownership: borrows the descriptor, which is read with pread(2) alone.
// Memory: 256 KiB. Errors: kDataLoss: no recipe, an unfinished one, of another version, or damaged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/archive/recipe_format.h"
#include "lib/archive/tar_header.h"

struct ZSTD_DCtx_s;

namespace berth::archive {

class RecipeReader {
 public:
  struct Record {
    RecipeRecord type = RecipeRecord::kRaw;
    std::string path;
    uint64_t size = 0;
    uint64_t hash = 0;
    std::vector<SparsePiece> runs;
  };

  explicit RecipeReader(int fd);
  ~RecipeReader();

  // First of all.
  absl::StatusOr<RecipeHeader> ReadHeader();
  // The next record; false at the end. The bytes of kRaw and kKept, `size` of them, are skipped
  // unless they were read.
  absl::StatusOr<bool> Next(Record& record);
  // The next of them; empty: there are no more. Valid until the next call.
  absl::StatusOr<std::string_view> ReadBytes();

 private:
  absl::StatusOr<bool> Fill();
  absl::StatusOr<uint64_t> ReadNumber();
  absl::Status ReadText(size_t max_bytes, std::string& out);
  absl::Status ReadRuns(Record& record);

  struct FreeContext {
    void operator()(ZSTD_DCtx_s* context) const;
  };

  const int fd_;
  std::unique_ptr<ZSTD_DCtx_s, FreeContext> zstd_;
  std::vector<char> compressed_;
  size_t in_at_ = 0;
  size_t in_end_ = 0;
  uint64_t offset_ = kRecipeHeaderBytes;  // of the file
  bool frame_ended_ = false;
  bool has_more_ = false;  // zstd has output that plain_ had no room for
  std::vector<char> plain_;
  std::string_view bytes_;    // of plain_, not yet read
  uint64_t record_left_ = 0;  // of the record's bytes
};

// What is wrong with a recipe, for those who read it.
absl::Status BadRecipe(std::string_view what);

}  // namespace berth::archive
