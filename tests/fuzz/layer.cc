// Layers, unpacked: everything between a blob's first byte and the last file. First byte: how the
// stream is cut, and whether the checksums of a plain one are set right. Needs root; does nothing
// without.
#include "lib/archive/layer_extractor.h"
#include "lib/archive/testing/string_source.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_dir.h"
#include "tests/fuzz/tar_repair.h"

namespace berth::archive {

FUZZ_TARGET(layer) {
  if (::geteuid() != 0) {
    return;
  }
  fuzz::TheWorker().Run([input](fuzz::ScratchDir& scratch) {
    fuzz::Input parts(input);
    const size_t piece = 1 + 64u * parts.Byte();
    LayerOptions options;
    options.name = "fuzz";
    options.limits.max_unpacked_bytes = 8 << 20;
    options.limits.free_unpacked_bytes = 4 << 20;
    options.limits.max_entries = 2000;
    options.limits.max_path_depth = 32;
    options.limits.max_header_bytes = 256 << 10;
    options.limits.max_directory_bytes = 1 << 20;
    std::string stream(parts.Rest());
    if (piece % 128 != 1 && stream.substr(0, 1) != "\x1f" && stream.substr(0, 1) != "\x28") {
      fuzz::RepairTar(stream);
    }
    StringSource source(stream, piece);
    const base::UniqueFd root = scratch.Clean();
    const absl::StatusOr<LayerResult> result = UnpackLayer(root.get(), source, options);
    scratch.CheckNeighbours();
    if (!result.ok()) {
      // By its code as well: libFuzzer learns such words and makes names of them.
      if (absl::IsFailedPrecondition(result.status()) &&
          result.status().message().find("Read-only file system") != absl::string_view::npos) {
        std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
        BERTH_CHECK(!"it reached out of its root");
      }
      BERTH_CHECK(!absl::IsInternal(result.status()) && !absl::IsNotFound(result.status()));
      return;
    }
    BERTH_CHECK(result->tar_bytes <= options.limits.max_unpacked_bytes);
    BERTH_CHECK(result->inodes >= 1);
  });
}

}  // namespace berth::archive
