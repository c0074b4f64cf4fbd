// Image volumes: mounts of a container that show the content of an image, read-only, instead of a
// path of the node (CRI v1 Mount.image).
//
// Each is an overlay of the image's layers at store::Paths::Volume, named by the place of its
// mount in the request, so that the record alone says what to unmount. The layers stay while the
// leases live, afterwards because the record's volume_layers name them.
// Threads: no state; block on the disk. Errors of MountVolumes and ResolveVolumes carry the reason
// that the kubelet knows, ImageVolumeMountFailed.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/image/image_service.h"
#include "lib/model/container.h"
#include "lib/snapshot/overlay_snapshotter.h"
#include "lib/store/paths.h"

namespace berth::container {

// One for each mount; empty for those of no image.
using VolumeLeases = std::vector<image::ImageLease>;

// kNotFound: an image is not on this node.
absl::StatusOr<VolumeLeases> LeaseVolumes(image::ImageService& images,
                                          const std::vector<model::MountSpec>& mounts);

// The layers of all of them, each once.
std::vector<int64_t> LayersOf(const VolumeLeases& leases);

struct VolumeOptions {
  std::string layers_view, option;  // as in snapshot::RootfsSpec
};

// Mounts them. What was mounted before an error is undone by UnmountVolumes.
absl::Status MountVolumes(const base::OpContext& ctx, snapshot::OverlaySnapshotter& snapshotter,
                          const store::Paths& paths, const model::ContainerId& id,
                          const VolumeLeases& leases, const VolumeOptions& options = {});

// Sets the host_path of each: its mount point, or the directory or file that image_sub_path leads
// to with the image's root as "/". kNotFound: the image has no such path; kInvalidArgument: it is
// something else.
absl::Status ResolveVolumes(const store::Paths& paths, const model::ContainerId& id,
                            std::vector<model::MountSpec>& mounts);

// Also of the request's other mounts with ids of their own (mapped_volumes.h). Not mounted, or
// gone: OK.
absl::Status UnmountVolumes(snapshot::OverlaySnapshotter& snapshotter, const store::Paths& paths,
                            const model::ContainerRecord& record);

}  // namespace berth::container
