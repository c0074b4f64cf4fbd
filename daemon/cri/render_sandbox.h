// Pods as the CRI shows them. Threads: pure functions. Source: CRI v1 PodSandbox, PodSandboxStatus.
#pragma once

#include <string>

#include "daemon/cri/cri_api.h"
#include "lib/model/sandbox.h"

namespace berth::cri {

api::PodSandboxState RenderState(model::SandboxState state);
api::NamespaceOption RenderNamespaces(const model::NamespaceOptions& options);

api::PodSandbox RenderSandbox(const model::SandboxRecord& record);
api::PodSandboxStatus RenderSandboxStatus(const model::SandboxRecord& record);

// Value of info["info"] in a verbose answer: JSON with pid, hostname, cgroup, runtimeHandler and
// the CNI attachment.
std::string SandboxInfo(const model::SandboxRecord& record);

}  // namespace berth::cri
