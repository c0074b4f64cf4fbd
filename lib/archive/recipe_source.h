// RecipeSource: a layer's tar stream, made again from its recipe and its files; what AssembleLayer
// and CheckLayer have in common.
//
// Threads: one owner. Ownership: borrows the descriptors. Memory: 0.5 MiB and the contents that the
// recipe keeps (RecipeWriter::kMaxKeptBytes).
// Errors: kDataLoss: the recipe is damaged, or (kStrict) a file is missing, shorter, or has another
// content, named.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/archive/byte_source.h"
#include "lib/archive/content_hash.h"
#include "lib/archive/recipe_reader.h"
#include "lib/base/unique_fd.h"

namespace berth::archive {

class RecipeSource : public ByteSource {
 public:
  enum class Mode {
    kStrict,  // a file that is not what it was is an error
    kCheck    // it is noted, and zeros are given for what is missing; holes are looked at too
  };
  RecipeSource(int root_fd, int recipe_fd, Mode mode);

  // First of all.
  absl::Status Open();
  const RecipeHeader& header() const { return header_; }
  absl::StatusOr<std::string_view> Next() override;

  // What was noted since the last call: paths without symlinks, and what is wrong.
  std::vector<std::pair<std::string, std::string>> TakeProblems() {
    return std::exchange(problems_, {});
  }

 private:
  // A content that was replaced after so many contents of the archive.
  struct Kept {
    uint64_t after;
    std::string content;
  };
  absl::Status ReadKept();
  absl::Status BeginContent();
  absl::StatusOr<std::string_view> NextContent();
  absl::Status EndContent();
  // How much of [offset, offset + want) was read to the buffer.
  absl::StatusOr<size_t> ReadFile(uint64_t offset, size_t want);
  absl::Status CheckHoles();
  absl::Status Problem(std::string what);

  const int root_fd_;
  const int recipe_fd_;
  const Mode mode_;
  RecipeReader reader_;
  RecipeHeader header_;
  std::map<std::string, std::vector<Kept>> kept_;
  std::vector<std::pair<std::string, std::string>> problems_;

  RecipeReader::Record record_;
  uint64_t contents_ = 0;  // kContent records so far
  uint64_t bytes_ = 0;     // of the stream so far
  bool in_content_ = false;
  bool has_problem_ = false;  // this file: one word about it is enough
  size_t run_ = 0;            // of the record
  uint64_t run_at_ = 0;
  const std::string* kept_content_ = nullptr;  // in place of the file
  base::UniqueFd file_;
  std::vector<char> buffer_;
  ContentHash hash_;
};

}  // namespace berth::archive
