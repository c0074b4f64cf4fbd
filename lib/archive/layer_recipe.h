// A layer's recipe: what its tar stream had besides the files' contents, so that the stream can be
// made again, byte for byte, from the unpacked directory.
//
// LayerExtractor writes it while it unpacks (LayerOptions::recipe_fd). With it a layer can be
// exported with the DiffID that its images name, and checked. Making the stream again proves the
// files' contents alone, since names, owners and times come from the recipe; those on disk are
// compared by CheckLayer. Writing it takes about 1 us of a processor for each file.
//
// Form (recipe_format.h): a small header and a zstd stream of records. Bytes of the archive that
// are no file's content are kept as they are (headers, padding, whiteouts, what follows the end); a
// content is its file's path, where in the file it lies, its length and its XXH3-64, by which a
// damaged file is found and named. Where a later entry of the archive replaces a file, the earlier
// content is kept too, up to RecipeWriter::kMaxKeptBytes for a layer. Some 30 bytes for each file
// of an archive. Private to berth: it may change with a version.
//
// A recipe is whole only when the unpacking ended well: one that was cut off has no header.
//
// Threads: pure functions over descriptors; one thread at a time per recipe.
// Source: the idea is tar-split's; POSIX pax for what a tar stream is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/oci/digest.h"

namespace berth::archive {

// How long the tar stream is that AssembleLayer makes. kDataLoss: no whole recipe.
absl::StatusOr<uint64_t> RecipeTarBytes(int recipe_fd);

// Makes the tar stream of the layer that is unpacked at root_fd again and gives it to `sink` in
// pieces of up to 256 KiB. Files are opened beneath root_fd without following links. Recipes are
// read with pread(2): the descriptor's position means nothing.
// Errors: kDataLoss: a file is missing, shorter, or not what it was (named; some of it was given to
// the sink before that was seen), or the recipe is damaged; kFailedPrecondition: the archive
// replaces more of its own files than a recipe keeps, so nothing was given; the sink's; the
// context's.
absl::Status AssembleLayer(const base::OpContext& ctx, int root_fd, int recipe_fd,
                           const std::function<absl::Status(std::string_view piece)>& sink);

// Compares the directory with the recipe: contents, and names, kinds, owners, modes, times and
// extended attributes of everything the archive described, and that nothing else is there. A few
// words for each difference, naming the path; at most `max_problems`. Empty: the directory is the
// layer `diff_id`, except that for a layer that AssembleLayer refuses the DiffID is not compared.
//
// Not looked at: owners, modes and times of directories that no entry describes (they are given
// those of lower layers), and attributes of this machine, such as SELinux labels.
// Memory: some 300 bytes for each name. Errors: the recipe cannot be read or is not this layer's
// (kDataLoss); kResourceExhausted: more names than 512 MiB have room for; the context's.
absl::StatusOr<std::vector<std::string>> CheckLayer(const base::OpContext& ctx, int root_fd,
                                                    int recipe_fd, const oci::Digest& diff_id,
                                                    size_t max_problems);

}  // namespace berth::archive
