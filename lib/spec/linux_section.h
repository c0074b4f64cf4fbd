// The `linux` object of config.json. Private to lib/spec. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

#include "lib/spec/container_spec.h"

namespace berth::spec {

// Without `seccomp`, which is text already. `resources`: BuildResources's. `rootfs_propagation`:
// PlanMounts's.
absl::StatusOr<nlohmann::json> BuildLinux(const SpecInputs& inputs, nlohmann::json resources,
                                          const std::string& rootfs_propagation,
                                          std::vector<std::string>& warnings);

}  // namespace berth::spec
