// Where berth's own helper programs are.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace berth::app {

// The configured path, or else `name` where `cmake --install` puts it, beside the running berthd,
// or in its build tree. kNotFound lists the places. `folder`: the program's folder in a build
// tree's cmd/.
absl::StatusOr<std::string> FindOwnProgram(const std::string& configured, const std::string& name,
                                           const std::string& folder);

}  // namespace berth::app
