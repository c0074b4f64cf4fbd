// OverlaySnapshotter: directories of image layers, and root filesystems of containers made of them
// by overlayfs.
//
// On disk:  <root>/layers/<number>/        one unpacked layer; the number is its database row,
// never used twice
//           <root>/layers/0/               always empty: the lower directory of an image without
//           layers <root>/containers/<id>/upper   what the container wrote (path chosen by the
//           caller) <root>/containers/<id>/work    overlayfs's own
// A layer directory means nothing until the database knows it; what it does not know StrayLayers
// tells.
//
// Threads: thread-safe; calls for the same directory must not overlap. Blocking.
// Ownership: borrows the Mounter.
// Source: Documentation/filesystems/overlayfs.rst.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/unique_fd.h"
#include "lib/mount/mounter.h"

namespace berth::snapshot {

using LayerNumber = int64_t;

struct RootfsSpec {
  std::vector<LayerNumber> layers;  // top first; may be empty
  // Another mount of the directory of layers, an id-mapped one: the files of the layers have the
  // owners that they have there. Empty: the directory itself.
  std::string layers_view = {};
  // Absolute directories, made if absent. Both empty: the root filesystem is read-only and nothing
  // can be written.
  std::string upper;
  std::string work;
  std::string target;  // absolute; made if absent, mode 0700
  bool read_only = false;
  // The writable layer need not survive a crash of the machine: overlayfs never syncs it. It cannot
  // be mounted again after an unmount.
  bool is_volatile = false;
  // One more option for the file system, such as SELinux's context=; empty: none. Not for a
  // read-only root without layers, which is no mount of its own kind.
  std::string option = {};
};

struct Usage {
  uint64_t bytes = 0;  // allocated on disk
  uint64_t inodes = 0;
};

class OverlaySnapshotter {
 public:
  // `layers_path`: the directory <root>/layers.
  OverlaySnapshotter(std::string layers_path, mount::Mounter& mounter);

  // Makes <root>/layers (0700) and layer 0. Call once before anything else.
  absl::Status Prepare();

  // Makes an empty directory for a layer, mode 0755, and opens it. What a crash left there is
  // removed first.
  absl::StatusOr<base::UniqueFd> NewLayerDir(LayerNumber number);
  // Opens an existing one. kNotFound.
  absl::StatusOr<base::UniqueFd> OpenLayerDir(LayerNumber number) const;
  std::string LayerPath(LayerNumber number) const;
  // Opens the directory of layers.
  absl::StatusOr<base::UniqueFd> OpenLayers() const;
  // Paths of everything beneath <root>/layers that is not in `known`.
  absl::StatusOr<std::vector<std::string>> StrayLayers(const std::set<LayerNumber>& known) const;

  // Mounts the root filesystem. The new root directory has the owner and mode of the top layer's.
  // A view of the layers needs Linux 5.19.
  // kNotFound: a layer is missing; kOutOfRange: too many layers (some 450 fit).
  absl::Status MountRootfs(const base::OpContext& ctx, const RootfsSpec& spec);
  // Unmounts it (detached when busy); absent or not mounted is OK. The directory stays.
  absl::Status UnmountRootfs(const std::string& target);

  // Mounts an image's content for a container to read: read-only, and no device, setuid bit or
  // program in it works. Of `spec` it takes layers, layers_view, target and option. Errors as
  // MountRootfs.
  absl::Status MountVolume(const base::OpContext& ctx, const RootfsSpec& spec);
  // As UnmountRootfs.
  absl::Status UnmountVolume(const std::string& target);

  // What a directory tree takes on disk: walks it by descriptors, staying on its file system; hard
  // links count once.
  static absl::StatusOr<Usage> MeasureTree(const base::OpContext& ctx, const std::string& path);

 private:
  const std::string& ViewOf(const RootfsSpec& spec) const;
  absl::Status PrepareWritable(const RootfsSpec& spec) const;
  absl::StatusOr<std::string> LowerDirs(const std::vector<LayerNumber>& layers) const;
  absl::StatusOr<mount::MountRequest> ReadOnlyRequest(const RootfsSpec& spec) const;
  absl::Status MountAt(mount::MountRequest request, const std::string& target,
                       const std::string& option);
  absl::Status Unmount(const std::string& target);

  const std::string layers_path_;
  mount::Mounter& mounter_;
};

}  // namespace berth::snapshot
