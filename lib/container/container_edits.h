// What a new container gets besides what its request and its image say: the edits of the CDI
// devices it asks for, the OCI hooks whose conditions it meets, the blockio and RDT classes of its
// annotations.
// Threads: those of HookDirs; blocks on the disk.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "lib/container/node_setup.h"
#include "lib/model/container.h"
#include "lib/model/edits.h"
#include "lib/model/sandbox.h"

namespace berth::container {

// `command`: the first of the container's arguments. kInvalidArgument: a CDI device or class that
// is not known; kFailedPrecondition: an RDT class without resctrl.
absl::StatusOr<model::ContainerEdits> EditsFor(const NodeSetup& node,
                                               const model::ContainerSpec& container,
                                               const model::SandboxSpec& pod,
                                               const std::string& command);

}  // namespace berth::container
