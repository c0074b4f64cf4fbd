// Manifests and indexes from a registry or an archive. First line: the media type they came with.
#include "lib/oci/image.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::oci {

namespace {

void CheckDescriptor(const Descriptor& descriptor) {
  BERTH_CHECK(!descriptor.digest.empty());
  BERTH_CHECK(descriptor.size >= 0);
}

}  // namespace

FUZZ_TARGET(manifest) {
  fuzz::Input parts(input);
  const std::string media_type = parts.Line();
  const auto parsed = ParseManifest(parts.Rest(), media_type);
  if (!parsed.ok()) {
    return;
  }
  if (const auto* index = std::get_if<ImageIndex>(&*parsed)) {
    BERTH_CHECK(index->manifests.size() <= kMaxIndexEntries);
    for (const Descriptor& entry : index->manifests) {
      CheckDescriptor(entry);
    }
    for (const char* variant : {"", "v2", "v8"}) {
      (void)SelectPlatform(*index, {"linux", *variant == 'v' ? "arm64" : "amd64", variant, ""});
    }
    return;
  }
  const auto& manifest = std::get<ImageManifest>(*parsed);
  BERTH_CHECK(manifest.layers.size() <= kMaxLayers);
  CheckDescriptor(manifest.config);
  for (const Descriptor& layer : manifest.layers) {
    CheckDescriptor(layer);
    (void)CompressionOf(layer.media_type);
  }
  BERTH_CHECK(manifest.TotalSize() >= 0);
  (void)CheckLayersMatch(manifest, ImageConfig());
}

}  // namespace berth::oci
