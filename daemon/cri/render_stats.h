// Statistics as the CRI shows them: what the node does not tell is absent, not zero. Threads: pure
// functions. Source: CRI v1 ContainerStats, PodSandboxStats.
#pragma once

#include <string>

#include "daemon/cri/cri_api.h"
#include "lib/stats/stats_service.h"

namespace berth::cri {

// `storage`: what names the file system of the writable layers, as in ImageFsInfo; the kubelet
// takes two names for two file systems.
api::ContainerStats RenderStats(const stats::ContainerStats& stats, const std::string& storage);
api::PodSandboxStats RenderStats(const stats::PodStats& stats, const std::string& storage);

}  // namespace berth::cri
