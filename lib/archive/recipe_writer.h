// RecipeWriter: writes a layer's recipe (layer_recipe.h) while the layer is unpacked. It sees the
// stream as TarReader's tap, and the TreeWriter tells it which file a content goes to and which
// files go away.
//
// A file that a later entry replaces has its content kept in the recipe: that of earlier ones is
// needed again, and on disk it is gone. 32 MiB of such contents are kept for a layer; with more the
// recipe is marked as lossy, and the layer cannot be made again.
//
// Memory: about 1 MiB, and the runs of one sparse file. Threads: one owner. Ownership: borrows the
// descriptors. Errors: those of writing the recipe, named so; nothing is synced.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/archive/content_hash.h"
#include "lib/archive/recipe_format.h"
#include "lib/archive/tar_header.h"
#include "lib/archive/tar_reader.h"

struct ZSTD_CCtx_s;

namespace berth::archive {

class RecipeWriter : public TarTap {
 public:
  static constexpr uint64_t kMaxKeptBytes = 32 << 20;

  // fd: an empty file.
  RecipeWriter(int root_fd, int fd);
  ~RecipeWriter() override;

  // Where something of the layer is: its directory, its path as the archive has it, and whether
  // that leads by way of a symlink.
  struct Location {
    int parent_fd;
    std::string_view name;
    std::string_view path;
    bool by_symlink;
  };
  // What NextPiece gives out from here on is the content of this file, of `size` bytes with holes.
  absl::Status BeginFile(const Location& file, uint64_t size);
  absl::Status EndFile();
  // This is about to be removed, a file or anything else.
  absl::Status Replacing(const Location& location);
  // All of the stream was seen.
  absl::Status Finish();

  absl::Status Raw(std::string_view bytes) override;
  absl::Status Content(uint64_t offset, std::string_view bytes) override;

 private:
  std::string RealPath(const Location& location) const;
  absl::Status FlushRaw();
  absl::Status EndRecord();
  absl::Status Compress(bool is_last);
  absl::Status AppendFile(int fd, uint64_t size, const std::string& path);
  void AppendText(std::string_view text);

  struct FreeContext {
    void operator()(ZSTD_CCtx_s* context) const;
  };

  const int root_fd_;
  const int fd_;
  RecipeHeader header_;
  std::unique_ptr<ZSTD_CCtx_s, FreeContext> zstd_;
  std::string raw_;      // of the record that is growing
  std::string records_;  // not yet compressed
  std::vector<char> compressed_;
  size_t compressed_size_ = 0;
  uint64_t written_;  // where in the file the next bytes go
  uint64_t kept_bytes_ = 0;

  bool in_file_ = false;
  std::string file_path_;
  uint64_t file_size_ = 0;
  std::vector<SparsePiece> runs_;
  ContentHash hash_;
};

}  // namespace berth::archive
