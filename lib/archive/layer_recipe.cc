#include "lib/archive/layer_recipe.h"

#include "fmt/format.h"

#include "lib/archive/recipe_source.h"
#include "lib/base/status.h"

namespace berth::archive {

namespace {

constexpr size_t kPieceBytes = 256 << 10;

}  // namespace

absl::StatusOr<uint64_t> RecipeTarBytes(int recipe_fd) {
  RecipeReader reader(recipe_fd);
  ASSIGN_OR_RETURN(const RecipeHeader header, reader.ReadHeader());
  return header.tar_bytes;
}

absl::Status AssembleLayer(const base::OpContext& ctx, int root_fd, int recipe_fd,
                           const std::function<absl::Status(std::string_view piece)>& sink) {
  RecipeSource source(root_fd, recipe_fd, RecipeSource::Mode::kStrict);
  RETURN_IF_ERROR(source.Open());
  if (source.header().is_lossy) {
    return absl::FailedPreconditionError(
        "the layer cannot be made again: its archive replaces more of its own files than recipes "
        "keep");
  }
  // Many files are small: they go out together.
  std::string gathered;
  while (true) {
    ASSIGN_OR_RETURN(const std::string_view piece, source.Next());
    const bool is_large = piece.size() >= kPieceBytes / 2;
    if (!gathered.empty() &&
        (piece.empty() || is_large || gathered.size() + piece.size() > kPieceBytes)) {
      RETURN_IF_ERROR(ctx.Check());
      RETURN_IF_ERROR(sink(gathered));
      gathered.clear();
    }
    if (piece.empty()) {
      return absl::OkStatus();
    }
    if (!is_large) {
      gathered.append(piece);
    } else {
      RETURN_IF_ERROR(ctx.Check());
      RETURN_IF_ERROR(sink(piece));
    }
  }
}

}  // namespace berth::archive
