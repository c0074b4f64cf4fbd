// Recipes of layers. First byte: 0 to 127: an archive (as of the target `layer`), which is
// unpacked, made again from its recipe, and must be the same; beyond: a recipe, of records or as it
// is on the disk, that somebody wrote over a tree with things in it that lead elsewhere. Needs
// root.
#include "lib/archive/layer_recipe.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <zstd.h>

#include "lib/archive/layer_extractor.h"
#include "lib/archive/recipe_format.h"
#include "lib/archive/testing/string_source.h"
#include "lib/archive/testing/tar_builder.h"
#include "lib/oci/sha256.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_dir.h"
#include "tests/fuzz/tar_repair.h"

namespace berth::archive {

namespace {

constexpr size_t kMaxTar = 4 << 20;

absl::Status Assemble(int root_fd, int recipe_fd, std::string& out) {
  return AssembleLayer(
      base::OpContext::Background(), root_fd, recipe_fd, [&](std::string_view piece) {
        out += piece;
        return out.size() <= kMaxTar ? absl::OkStatus() : absl::ResourceExhaustedError("enough");
      });
}

void ThereAndBack(int root_fd, int recipe_fd, size_t piece, std::string archive) {
  fuzz::RepairTar(archive);
  LayerOptions options;
  options.name = "fuzz";
  options.limits.max_unpacked_bytes = kMaxTar;
  options.limits.max_entries = 500;
  options.limits.max_path_depth = 32;
  options.recipe_fd = recipe_fd;
  StringSource source(archive, piece);
  const absl::StatusOr<LayerResult> result = UnpackLayer(root_fd, source, options);
  if (!result.ok()) {
    return;
  }
  std::string again;
  const absl::Status assembled = Assemble(root_fd, recipe_fd, again);
  BERTH_CHECK(assembled.ok());
  BERTH_CHECK(oci::DigestOf(again) == result->diff_id);
  const auto problems =
      CheckLayer(base::OpContext::Background(), root_fd, recipe_fd, result->diff_id, 10);
  BERTH_CHECK(problems.ok());
  for (const std::string& problem : *problems) {
    std::fprintf(stderr, "problem: %s\n", problem.c_str());
  }
  BERTH_CHECK(problems->empty());
}

void MakeTree(int root_fd) {
  for (const char* name : {"a", "d/b"}) {
    ::mkdirat(root_fd, "d", 0755);
    const base::UniqueFd file(::openat(root_fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    BERTH_CHECK(base::WriteFd(file.get(), "the content of a file").ok());
  }
  BERTH_CHECK(::symlinkat("/etc", root_fd, "etc") == 0);
  BERTH_CHECK(::symlinkat("/etc/passwd", root_fd, "passwd") == 0);
  BERTH_CHECK(::mkfifoat(root_fd, "fifo", 0644) == 0);
}

std::string RecipeOf(fuzz::Input& parts) {
  RecipeHeader header;
  const uint8_t flags = parts.Byte();
  header.has_kept = (flags & 1) != 0;
  header.is_lossy = (flags & 2) != 0;
  header.tar_bytes = parts.Number(3);
  return header.Encode() + Zstd(parts.Rest());
}

void Hostile(int root_fd, int recipe_fd, std::string_view recipe) {
  MakeTree(root_fd);
  BERTH_CHECK(base::WriteFd(recipe_fd, recipe).ok());
  std::string out;
  (void)Assemble(root_fd, recipe_fd, out);
  BERTH_CHECK(out.find("root:x:0:0:") == std::string::npos);
  BERTH_CHECK(out.size() <= kMaxTar + (256 << 10));
  (void)CheckLayer(base::OpContext::Background(), root_fd, recipe_fd, oci::DigestOf(out), 10);
  (void)RecipeTarBytes(recipe_fd);
}

}  // namespace

FUZZ_TARGET(layer_recipe) {
  if (::geteuid() != 0) {
    return;
  }
  fuzz::TheWorker().Run([input](fuzz::ScratchDir& scratch) {
    fuzz::Input parts(input);
    const uint8_t mode = parts.Byte();
    const base::UniqueFd root = scratch.Clean();
    const base::UniqueFd recipe(::memfd_create("recipe", MFD_CLOEXEC));
    if (mode < 128) {
      ThereAndBack(root.get(), recipe.get(), 1 + 512u * mode, std::string(parts.Rest()));
    } else {
      std::string bytes = mode < 192 ? RecipeOf(parts) : std::string(parts.Rest());
      if (bytes.size() >= kRecipeHeaderBytes) {
        // It takes its time to make what it says it makes: 16 MiB at most.
        std::fill_n(bytes.begin() + kRecipeHeaderBytes - 5, 5, '\0');
      }
      Hostile(root.get(), recipe.get(), bytes);
    }
    scratch.CheckNeighbours();
  });
}

}  // namespace berth::archive
