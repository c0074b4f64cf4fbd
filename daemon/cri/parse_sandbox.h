// RunPodSandbox's request as the services know it: the only place where a pod's configuration is
// checked for form. What depends on the node (sysctls, the cgroup parent's style, the handler, the
// network) is the services' to say.
//
// Left out on purpose: run_as_user, supplemental_groups, readonly_rootfs, seccomp and apparmor of
// the pod. They describe the process that holds the pod, and berth's runs nothing of the pod's;
// they are checked all the same. Windows fields. Threads: pure functions. Errors: kInvalidArgument
// naming the field; kUnimplemented: a user namespace for the pod. Limits: hostname 64 bytes (man 7
// hostname, HOST_NAME_MAX), kMaxDnsEntries, kMaxPortMappings. Source: CRI v1 PodSandboxConfig.
#pragma once

#include "absl/status/statusor.h"

#include "daemon/cri/cri_api.h"
#include "lib/model/sandbox.h"

namespace berth::cri {

inline constexpr int kMaxDnsEntries = 64;  // servers, searches and options each
inline constexpr int kMaxPortMappings = 10000;
inline constexpr size_t kMaxHostnameBytes = 64;

absl::StatusOr<model::SandboxSpec> ParseSandbox(const api::RunPodSandboxRequest& request);

}  // namespace berth::cri
