// The CDI devices of this node, looked up in the directories of specification files.
//
// The files (*.json, *.yaml; not in subdirectories) are read at every call, that is when a
// container asks for a device: there are few, drivers rewrite them whenever they like, and nothing
// is kept in memory. A later directory wins over an earlier one; within one directory a device in
// two files is a conflict, which only a later directory can settle. A file that cannot be read, or
// has a mistake, counts as not there; the error of a device that is not found tells of it.
//
// Threads: no state; blocks on the disk. Limits: kMaxCdiFileBytes and 1000 files per directory.
// Source: CDI specification; Kubernetes' and CRI-O's use of it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/edits.h"

namespace berth::cdi {

inline constexpr size_t kMaxCdiFileBytes = 8 << 20;

// What `names` (RequestedDevices's) ask for: each device's edits in their order, each after those
// that its file has for all of its devices, which count once. kInvalidArgument: a device is not
// known, or two files claim it; the message names the directories and what is wrong in them.
absl::StatusOr<model::ContainerEdits> LookUpDevices(const std::vector<std::string>& spec_dirs,
                                                    const std::vector<std::string>& names);

}  // namespace berth::cdi
