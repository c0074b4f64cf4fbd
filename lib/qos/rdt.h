// RDT classes: resctrl groups that the administrator has made and set up (pqos, resctrl tools);
// berth puts containers into them and changes none.
//
// Threads: pure but for a look at the file system. Source: kernel's filesystems/resctrl.rst, OCI
// runtime-spec config-linux.md "IntelRdt".
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "lib/model/edits.h"

namespace berth::qos {

// kFailedPrecondition: resctrl is not mounted on `sys_root`/fs/resctrl; kInvalidArgument: it has no
// such group.
absl::StatusOr<model::IntelRdt> RdtClass(const std::string& name,
                                         const std::string& sys_root = "/sys");

}  // namespace berth::qos
