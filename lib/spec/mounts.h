// The mounts of config.json: the defaults every container has, and the request's, which win.
// Private to lib/spec. Pure.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

#include "lib/spec/container_spec.h"

namespace berth::spec {

struct MountPlan {
  nlohmann::json mounts = nlohmann::json::array();  // in the order of mounting: by depth
  std::string rootfs_propagation;                   // empty: the runtime's default
};

// kInvalidArgument, kUnimplemented: see BuildContainerSpec.
absl::StatusOr<MountPlan> PlanMounts(const SpecInputs& inputs, bool is_systemd);

}  // namespace berth::spec
