// Containers as the CRI shows them. Threads: pure functions. Source: CRI v1 Container,
// ContainerStatus.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "daemon/cri/cri_api.h"
#include "lib/model/container.h"
#include "lib/model/image.h"

namespace berth::cri {

api::ContainerState RenderState(model::ContainerState state);
api::LinuxContainerResources RenderResources(const model::Resources& resources);

void RenderIdMappings(const std::vector<model::IdMapping>& mappings,
                      google::protobuf::RepeatedPtrField<api::IDMapping>& out);

// Of an exited container: what the record says, else OOMKilled, Completed (code 0) or Error, in
// this order. Else "".
std::string ReasonOf(const model::ContainerRecord& record);

api::Container RenderContainer(const model::ContainerRecord& record);

// `image`: the container's image while it is still on the node, else nullptr.
api::ContainerStatus RenderContainerStatus(const model::ContainerRecord& record,
                                           const model::ImageRecord* image);

// Value of info["info"] in a verbose answer: JSON with sandboxID, pid, runtimeSpec and privileged.
// `runtime_spec`: the bundle's config.json, or "" when it is gone.
std::string ContainerInfo(const model::ContainerRecord& record, std::string_view runtime_spec,
                          std::optional<uint64_t> lost_log_bytes);

}  // namespace berth::cri
