// What the CRI's list filters let through. All that is set must match; ids are resolved from
// prefixes by the caller. Threads: pure functions. Source: CRI v1 PodSandboxFilter,
// ContainerFilter.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "daemon/cri/cri_api.h"
#include "lib/model/container.h"
#include "lib/model/sandbox.h"

namespace berth::cri {

struct SandboxFilter {
  std::optional<std::string> id;  // in full
  std::optional<api::PodSandboxState> state;
  std::map<std::string, std::string> labels;
};

struct ContainerFilter {
  std::optional<std::string> id;  // in full
  std::optional<std::string> sandbox_id;
  std::optional<api::ContainerState> state;
  std::map<std::string, std::string> labels;
};

// Everything but the ids. kInvalidArgument: a state that is none.
absl::StatusOr<SandboxFilter> ParseFilter(const api::PodSandboxFilter& filter);
absl::StatusOr<ContainerFilter> ParseFilter(const api::ContainerFilter& filter);

bool Matches(const SandboxFilter& filter, const model::SandboxRecord& record);
bool Matches(const ContainerFilter& filter, const model::ContainerRecord& record);

}  // namespace berth::cri
