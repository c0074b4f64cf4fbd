// The `linux` object of config.json. Private to lib/spec. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

#include "lib/spec/container_spec.h"

namespace berth::spec {

// The devices of the request, and for privileged containers those of the host, one for each path in
// the container. Made as nodes, or in a user namespace, mounted.
std::vector<Device> ContainerDevices(const SpecInputs& inputs);

// Without `seccomp`, which is text already. `resources`: BuildResources's. `rootfs_propagation`:
// PlanMounts's.
absl::StatusOr<nlohmann::json> BuildLinux(const SpecInputs& inputs, nlohmann::json resources,
                                          const std::string& rootfs_propagation,
                                          std::vector<std::string>& warnings);

}  // namespace berth::spec
