// The documents an image is made of: index, manifest, config (OCI image-spec v1.1, and Docker's
// schema 2 equivalents).
//
// They come from registries and archives and are hostile: every parser bounds size, nesting and
// counts, checks types and digests, and refuses documents that could be read as two things
// (manifest and index at once, CVE-2021-41190). Unknown members are ignored, null means absent, as
// the specification wants.
//
// Errors: kInvalidArgument says which member is wrong; kOutOfRange which limit was exceeded;
// kUnimplemented for Docker's schema 1, which no registry has served by default since 2019.
// Threads: values and pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "lib/oci/digest.h"

namespace berth::oci {

inline constexpr size_t kMaxManifestBytes = 4 << 20;
inline constexpr size_t kMaxConfigBytes = 8 << 20;
inline constexpr size_t kMaxLayers = 500;
inline constexpr size_t kMaxIndexEntries = 1024;
inline constexpr int kMaxJsonDepth = 64;

inline constexpr char kOciIndexType[] = "application/vnd.oci.image.index.v1+json";
inline constexpr char kOciManifestType[] = "application/vnd.oci.image.manifest.v1+json";
inline constexpr char kOciConfigType[] = "application/vnd.oci.image.config.v1+json";
inline constexpr char kDockerIndexType[] =
    "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr char kDockerManifestType[] =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr char kDockerConfigType[] = "application/vnd.docker.container.image.v1+json";

bool IsIndexType(std::string_view media_type);
bool IsManifestType(std::string_view media_type);
// A file system layer: tar, plain or compressed, of either vendor.
bool IsLayerType(std::string_view media_type);

enum class LayerCompression { kNone, kGzip, kZstd };
// What the media type promises. Producers have been wrong about it, so unpackers look at the first
// bytes. kInvalidArgument: not a layer type, or encrypted.
absl::StatusOr<LayerCompression> CompressionOf(std::string_view layer_media_type);

struct Platform {
  std::string os;            // "linux"
  std::string architecture;  // GOARCH words: "amd64", "arm64", "arm"
  std::string variant;       // "v7"; for amd64 the micro-architecture level: "v2"
  std::string os_version;

  // "linux/arm64/v8"
  std::string ToString() const;
  bool operator==(const Platform&) const = default;
};

// The machine this runs on, with the highest variant it can run.
const Platform& ThisPlatform();

struct Descriptor {
  std::string media_type;
  Digest digest;
  int64_t size = 0;  // bytes, >= 0
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;
  std::string artifact_type;
};

struct ImageIndex {
  std::string media_type;
  std::vector<Descriptor> manifests;
  std::map<std::string, std::string> annotations;
};

struct ImageManifest {
  std::string media_type;
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom first
  std::map<std::string, std::string> annotations;
  std::string artifact_type;

  // What the registry holds for it: config and layers.
  int64_t TotalSize() const;
};

// Parses either document. `media_type` is what the registry or the descriptor called it; "" or a
// general JSON type leaves it to the document. Where both name a type, they must agree.
absl::StatusOr<std::variant<ImageIndex, ImageManifest>> ParseManifest(std::string_view bytes,
                                                                      std::string_view media_type);

// The entry that suits `platform` best: same OS and architecture, highest variant not above ours.
// Entries without a platform come last. kNotFound lists what the index has.
absl::StatusOr<Descriptor> SelectPlatform(const ImageIndex& index, const Platform& platform);

struct ImageConfig {
  std::optional<absl::Time> created;
  Platform platform;
  std::vector<Digest> diff_ids;  // bottom first

  // Member "config": defaults for containers of this image.
  std::string user;
  std::vector<std::string> exposed_ports;  // "80/tcp", sorted
  std::vector<std::string> env;            // "K=V" in the image's order
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> volumes;  // paths, sorted
  std::string working_dir;
  std::map<std::string, std::string> labels;
  std::string stop_signal;
};

// Strings with NUL bytes are refused: they would be cut in environments and arguments.
absl::StatusOr<ImageConfig> ParseImageConfig(std::string_view bytes);

// As many layers as DiffIDs.
absl::Status CheckLayersMatch(const ImageManifest& manifest, const ImageConfig& config);

}  // namespace berth::oci
