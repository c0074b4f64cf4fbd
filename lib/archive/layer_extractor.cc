#include "lib/archive/layer_extractor.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/archive/decompressor.h"
#include "lib/archive/recipe_writer.h"
#include "lib/archive/tar_reader.h"
#include "lib/archive/tar_stream.h"
#include "lib/archive/tree_writer.h"
#include "lib/base/status.h"

namespace berth::archive {

namespace {

absl::Status ApplyEntries(TarStream& stream, const LayerLimits& limits, RecipeWriter* recipe,
                          TreeWriter& tree) {
  TarReader reader(stream, limits, recipe);
  TarEntry entry;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.Next(entry));
    if (!more) {
      RETURN_IF_ERROR(tree.Finish());
      return recipe == nullptr ? absl::OkStatus() : recipe->Finish();
    }
    absl::Status added = tree.Add(entry, reader);
    if (absl::IsNotFound(added)) {
      // A path that leads nowhere inside the layer is the layer's fault; "not found" would be read
      // as a missing image.
      added = base::MakeStatus(absl::StatusCode::kInvalidArgument, std::string(added.message()));
    }
    RETURN_IF_ERROR(added);
  }
}

}  // namespace

absl::StatusOr<LayerResult> UnpackLayer(int root_fd, ByteSource& source,
                                        const LayerOptions& options) {
  ::umask(0);
  Decompressor decompressor(source, root_fd);
  TarStream stream(decompressor, options.limits);
  std::unique_ptr<RecipeWriter> recipe;
  if (options.recipe_fd >= 0) {
    recipe = std::make_unique<RecipeWriter>(root_fd, options.recipe_fd);
  }
  TreeWriter tree(root_fd, options.limits, recipe.get());
  const absl::Status status = ApplyEntries(stream, options.limits, recipe.get(), tree);
  if (!status.ok()) {
    return base::MakeStatus(
        status.code(), fmt::format("unpack layer '{}': {} (near byte {} of the tar stream)",
                                   options.name, std::string(status.message()), stream.bytes()));
  }
  LayerResult result;
  result.diff_id = stream.Finish();
  result.compression = decompressor.compression();
  result.compressed_bytes = decompressor.bytes_in();
  result.tar_bytes = stream.bytes();
  result.bytes = tree.bytes();
  result.inodes = tree.inodes();
  result.implicit_dirs = tree.implicit_dirs();
  return result;
}

LayerExtractor::LayerExtractor(base::UniqueFd root, LayerOptions options)
    : root_(std::move(root)),
      options_(std::move(options)),
      pipe_(options_.limits.buffer_bytes),
      result_(absl::InternalError("the extraction has not ended")) {
  thread_ = std::thread([this] { Run(); });
}

absl::StatusOr<std::unique_ptr<LayerExtractor>> LayerExtractor::Start(int root_fd,
                                                                      LayerOptions options) {
  base::UniqueFd root(::fcntl(root_fd, F_DUPFD_CLOEXEC, 0));
  if (!root) {
    return base::ErrnoStatus(errno,
                             fmt::format("unpack layer '{}': duplicate descriptor", options.name));
  }
  return std::unique_ptr<LayerExtractor>(new LayerExtractor(std::move(root), std::move(options)));
}

LayerExtractor::~LayerExtractor() {
  if (thread_.joinable()) {
    Abort(absl::CancelledError("given up"));
    thread_.join();
  }
}

void LayerExtractor::Run() {
  // Its own umask, so that files are born with the modes they should have.
  if (::unshare(CLONE_FS) != 0) {
    result_ = base::ErrnoStatus(errno, fmt::format("unpack layer '{}': unshare", options_.name));
  } else {
    result_ = UnpackLayer(root_.get(), pipe_, options_);
  }
  if (!result_.ok()) {
    pipe_.Fail(result_.status());
  }
}

absl::Status LayerExtractor::Write(std::string_view bytes) { return pipe_.Write(bytes); }

absl::StatusOr<LayerResult> LayerExtractor::Finish() {
  pipe_.CloseWrite();
  thread_.join();
  return std::move(result_);
}

void LayerExtractor::Abort(const absl::Status& why) { pipe_.Fail(why); }

}  // namespace berth::archive
