// ImageService: the images of this node: pulls, imports, lists and removes them.
//
// An image is a config, an ordered list of layers and names. Its id is the sha256 of its config.
// Layers are kept unpacked, once per DiffID, whatever image they came with. A pull fetches the
// config, then all missing layers at once, each inflated, verified and written in one pass into a
// directory nobody else knows of; when all are there, one transaction makes layers, image and names
// visible. Failure or a crash leaves nothing visible. Nobody waits for the disk but Import: the
// data is written in the background, and a power cut before that takes the image away
// (image_catalog.h). What is removed is deleted in the background too.
//
// Equal pulls (same reference and credentials) in flight are one pull; every caller waits no longer
// than its own context, and the transfer is given up when nobody waits any more. A layer that two
// pulls need is fetched once.
//
// Threads: thread-safe. Pull and Import block for minutes; the rest answers from memory, or does
// one transaction. Lock order: mu_ is taken before the locks of whoever answers the in-use
// callback. Ownership: borrows everything given to the constructor; the destructor gives up running
// pulls and waits for them. Source: CRI v1 ImageService; OCI image-spec v1.1.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/model/image.h"
#include "lib/oci/image.h"
#include "lib/registry/credentials.h"
#include "lib/registry/registry_client.h"
#include "lib/snapshot/overlay_snapshotter.h"

namespace berth::store {
class DiskReserve;
class ImageStore;
}  // namespace berth::store

namespace berth::image {

struct ImageOptions {
  int max_parallel_downloads = 8;   // layers, over all pulls
  std::vector<std::string> pinned;  // "name", "prefix*", "*word*"; see PinnedPatterns
  std::string
      import_path;  // directory for archives being imported; made when needed, emptied by Recover
  std::string recipes_path;  // directories as store/paths.h has them, made when absent
  std::string trash_path;
  store::DiskReserve* reserve = nullptr;  // of the disk, to be borrowed; null: none
  std::string boot_id = {};               // of this boot; empty: the kernel's
  // What writes a file system to the disk, given a descriptor of it; empty: syncfs(2).
  std::function<absl::Status(int fd)> sync = {};
  oci::Platform platform = oci::ThisPlatform();
};

struct ExportOptions {
  enum class Format { kOci, kDocker };
  Format format = Format::kOci;
  bool compress = false;  // layers by gzip; only kOci
};

struct FsUsage {
  uint64_t bytes = 0;  // of all layers, as counted when they were written, until they are deleted
  uint64_t inodes = 0;
};

// Keeps the layers of an image from being collected, also when the image is removed meanwhile: hold
// it from looking an image up until the container's record, which names the layers, is stored.
class ImageLease {
 public:
  ImageLease() = default;
  ImageLease(std::shared_ptr<const model::ImageRecord> image, std::shared_ptr<void> hold)
      : image_(std::move(image)), hold_(std::move(hold)) {}
  const model::ImageRecord& image() const { return *image_; }
  explicit operator bool() const { return image_ != nullptr; }

 private:
  std::shared_ptr<const model::ImageRecord> image_;
  std::shared_ptr<void> hold_;
};

class ImageService {
 public:
  ImageService(registry::RegistryClient& registry, snapshot::OverlaySnapshotter& snapshotter,
               store::ImageStore& store, ImageOptions options);
  ~ImageService();
  ImageService(const ImageService&) = delete;
  ImageService& operator=(const ImageService&) = delete;

  // Reads the database and removes what a crash left half-made. Once, before any other call.
  absl::Status Recover();

  // Tells which layers containers use; asked with mu_ held, when layers are collected. It may take
  // leaf locks only, and must know a container before its ImageLease is dropped.
  void SetLayersInUse(std::function<std::set<int64_t>()> in_use);

  // Pulls what `reference` names now, also when an image of that name is here, and returns the
  // image's id. Layers that are here are not fetched. Errors name the image, and the layer where
  // there is one: those of RegistryClient, LayerExtractor, kInvalidArgument for a bad reference,
  // kDataLoss for a layer that is not what the config says, kResourceExhausted for a full disk,
  // kDeadlineExceeded and kCancelled by ctx.
  absl::StatusOr<std::string> Pull(const base::OpContext& ctx, const std::string& reference,
                                   const std::optional<registry::Credentials>& credentials);

  struct Imported {
    std::string id;
    std::vector<std::string> skipped;  // the other platforms that the archive has of it
  };
  // Takes images from an OCI layout or a docker-archive at `path` (a directory, or a tar file,
  // plain or compressed): of each, what is for this node's platform. `names` are given to the image
  // instead of those in the archive, which then must hold exactly one. Returns once the images are
  // on the disk; an error of ctx while it waits for that leaves them visible. kInvalidArgument:
  // neither format, or an image without a name; kNotFound: an image has nothing for the platform,
  // and nothing was imported.
  absl::StatusOr<std::vector<Imported>> Import(const base::OpContext& ctx, const std::string& path,
                                               const std::vector<std::string>& names);

  // Gives the images, each meant as by Find and with all its names, as one tar archive to `sink`.
  // See archive_export.h.
  absl::Status Export(const base::OpContext& ctx, const std::vector<std::string>& images,
                      const ExportOptions& options,
                      const std::function<absl::Status(std::string_view piece)>& sink);

  // All images, newest first.
  std::vector<std::shared_ptr<const model::ImageRecord>> List() const;

  // By name ("busybox", "busybox:1.36", "quay.io/x/y@sha256:..."), id ("sha256:" allowed) or unique
  // id prefix of three digits or more. A name wins over a prefix. kNotFound; kInvalidArgument:
  // neither, or an ambiguous prefix.
  absl::StatusOr<std::shared_ptr<const model::ImageRecord>> Find(const std::string& text) const;
  // Same, and keeps its layers while the lease lives.
  absl::StatusOr<ImageLease> Use(const std::string& text);

  // Removes the image that any of its names, its id or a prefix of that means, with all its names,
  // as the CRI wants it. Absent is OK. Layers that no image, lease or container needs go in the
  // background, or before it returns where the disk is short of room.
  absl::Status Remove(const std::string& text);

  // Layers that were found damaged: the images with one of them go, and the next pull unpacks the
  // layers anew. Containers keep theirs. Returns the ids of the images.
  absl::StatusOr<std::vector<std::string>> Condemn(const std::set<int64_t>& layers);

  // Removes layers that nothing needs any more, in the background. The container service calls it
  // after removing a container.
  void CollectGarbage();

  FsUsage Usage() const;

  // Waits until nothing is left to write or to delete: for tests, and for who looks at the disk.
  void WaitIdle();

  // From now on.
  void SetPinned(std::vector<std::string> patterns);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::image
