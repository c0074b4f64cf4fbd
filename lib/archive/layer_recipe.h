// A layer's recipe: what its tar stream had besides the files' contents, so that the stream can be
// made again, byte for byte, from the unpacked directory.
//
// LayerExtractor writes it while it unpacks (LayerOptions::recipe_fd). With it a layer can be
// exported with the DiffID that its images name, and checked: the stream made again has that
// DiffID only if every file, name, owner and time of the archive is what it was.
//
// Form: a zstd stream of records, each with a type byte; the first record has the version. Bytes of
// the archive that are no file's content are kept as they are (headers, padding, what follows the
// end); a content is kept as its path, where in the file it lies, its length and its XXH3-64,
// by which a damaged file is found and named. Private to berth: it may change with a version.
//
// Threads: pure functions over descriptors; one thread at a time per recipe.
// Source: the idea is tar-split's; POSIX pax for what a tar stream is.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/oci/digest.h"

namespace berth::archive {

// Makes the tar stream of the layer that is unpacked at root_fd again and gives it to `sink` in
// pieces. Files are opened beneath root_fd without following links.
// Errors: kDataLoss: a file is missing, shorter, or not what it was (named), or the recipe is
// damaged; the sink's; the context's.
absl::Status AssembleLayer(const base::OpContext& ctx, int root_fd, int recipe_fd,
                           const std::function<absl::Status(std::string_view piece)>& sink);

// Compares the directory with the recipe: contents, and names, kinds, owners, modes, times and
// extended attributes of everything the archive described, and that nothing else is there. A few
// words for each difference, naming the path; at most `max_problems`. Empty: the directory is the
// layer `diff_id`. Errors: the recipe cannot be read or is not this layer's (kDataLoss); the
// context's.
absl::StatusOr<std::vector<std::string>> CheckLayer(const base::OpContext& ctx, int root_fd,
                                                    int recipe_fd, const oci::Digest& diff_id,
                                                    size_t max_problems);

}  // namespace berth::archive
