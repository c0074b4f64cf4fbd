// What is done to a root that no berthd serves: `berthctl check` where none runs, and `berthctl
// wipe`, by the berthd program itself (`berthd --check`, `--wipe`), which knows how. Both take the
// root's lock, so that a berthd serves it before or after, and not meanwhile.
// Threads: the main one of a program that does nothing else.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"

#include "daemon/config/config.h"

namespace berth::app {

// The report as JSON, a berth.v1.CheckResponse. Without `repair` nothing on the disk is changed but
// the lock's file. kFailedPrecondition: a berthd has the root, or the database is of another
// version; kNotFound: there is no database.
absl::StatusOr<std::string> CheckRoot(const config::Config& config, bool layers, bool repair);

enum class WipeScope {
  kStopped,  // pods and containers; refused while any runs
  kImages,   // and images
  kAll,      // everything, whatever runs
};

// Removes it; `say` gets a line for each thing that people want to know. kAll goes on after
// failures, says them, and in the end removes all files below root and state.
// kFailedPrecondition: a berthd has the root; something runs.
absl::Status Wipe(const config::Config& config, WipeScope scope,
                  const std::function<void(const std::string& line)>& say);

}  // namespace berth::app
