// CreateContainer's request as the services know it: the only place where a container's
// configuration is checked for form. What depends on the image and the node (users, devices, mount
// sources, limits) is lib/spec's and the services' to say.
//
// CreateContainerRequest.sandbox_config is not taken: the pod's own record has it. Threads: pure
// functions. Errors: kInvalidArgument naming the field; kUnimplemented: a user namespace. Limits:
// kMaxMounts, kMaxDevices, kMaxEnvs, kMaxGroups. Source: CRI v1 ContainerConfig.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "daemon/cri/cri_api.h"
#include "lib/model/container.h"
#include "lib/model/sandbox.h"

namespace berth::cri {

inline constexpr int kMaxMounts = 10000;
inline constexpr int kMaxDevices = 1024;
inline constexpr int kMaxEnvs =
    100'000;  // a namespace with many services gives its pods tens of thousands
inline constexpr int kMaxGroups = 65536;  // NGROUPS_MAX

absl::StatusOr<model::ContainerSpec> ParseContainer(const api::CreateContainerRequest& request);

// kInvalidArgument when it names another pod than this one. What else it says may have changed
// since RunPodSandbox (annotations do), and is not read.
absl::Status CheckSandboxConfig(const api::PodSandboxConfig& config, const model::SandboxSpec& pod);

// What Exec and ExecSync run: at least one word, none with a NUL.
absl::StatusOr<std::vector<std::string>> ParseCommand(
    const google::protobuf::RepeatedPtrField<std::string>& cmd);

}  // namespace berth::cri
