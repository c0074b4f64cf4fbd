// The host side of what CDI devices add to a container, looked up before the spec is built.
// Threads: no state; reads the host's file system.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/container.h"
#include "lib/model/edits.h"
#include "lib/spec/devices.h"

namespace berth::spec {

// The device nodes of `edits`, of two on one path the later one; owned by the container's user
// where the edit names no owner. `user` is given the additional groups. kNotFound: a device node,
// or the source of a bind mount, is not on the node; kInvalidArgument: it is something else;
// kFailedPrecondition: intelRdt where the kernel has no resctrl (looked for below `sys_root`).
absl::StatusOr<std::vector<Device>> PrepareEdits(const model::ContainerEdits& edits,
                                                 model::ContainerUser& user,
                                                 const std::string& sys_root = "/sys");

}  // namespace berth::spec
