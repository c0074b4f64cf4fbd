// Mapped volumes: mounts of a container in which the owners of files are not those of the node (CRI
// v1 Mount.uidMappings and gidMappings).
//
// berth makes them itself, so that it does not matter what the OCI runtime can: an id-mapped mount
// of the path at store::Paths::Volume, which the runtime then binds like any other. UnmountVolumes
// (image_volumes.h) ends them. Threads: no state; block on the kernel.
#pragma once

#include <vector>

#include "absl/status/status.h"

#include "lib/base/op_context.h"
#include "lib/model/container.h"
#include "lib/model/sandbox.h"
#include "lib/mount/mounter.h"
#include "lib/netns/pause_launcher.h"
#include "lib/store/paths.h"

namespace berth::container {

struct VolumeMapper {
  mount::Mounter& mounter;
  netns::PauseLauncher& pauses;
  const store::Paths& paths;
};

// Mounts those of `mounts`, which are prepared, and replaces their host_path. kInvalidArgument: the
// ids of an image are the pod's, not others. kUnimplemented: a file system without id-mapped
// mounts.
absl::Status MapVolumes(const base::OpContext& ctx, const VolumeMapper& mapper,
                        const model::SandboxRecord& sandbox, const model::ContainerId& id,
                        std::vector<model::MountSpec>& mounts);

}  // namespace berth::container
