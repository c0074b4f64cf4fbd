// UpdateContainerResources in values: what a request changes, what to hand to the OCI runtime, and
// what the container's files say afterwards.
//
// Threads: pure. Source: CRI v1 UpdateContainerResources (0 or empty: no change); OCI runtime-spec
// config-linux.md "Control groups".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/security.h"
#include "lib/spec/node_facts.h"
#include "lib/spec/resources.h"

namespace berth::spec {

struct ResourceUpdate {
  model::Resources resources;  // in force afterwards
  // What the request touches, with what the kernel wants together (quota and period, memory and
  // swap): `linux.resources` for `<runtime> update`; empty: nothing. Huge pages and a lifted CPU
  // quota are not in it: not every runtime can write them.
  std::string runtime_json;
  bool lifts_cpu_quota = false;
  int oom_score_adj = 0;       // in force afterwards, clamped to what the node allows
  std::string resources_json;  // `linux.resources` of config.json afterwards, without `devices`
  std::vector<std::string> warnings;
};

// Errors: those of BuildResources, for what would be in force.
absl::StatusOr<ResourceUpdate> PlanResourceUpdate(const model::Resources& current,
                                                  const model::Resources& wanted,
                                                  const NodeFacts& node,
                                                  const ResourceLimits& limits);

// config.json as it is after the update: its device rules and what else is no limit stay.
// exec_on_first_cpu: as in SpecInputs. kDataLoss: it is none.
absl::StatusOr<std::string> UpdateConfig(std::string_view config_json, const ResourceUpdate& update,
                                         bool exec_on_first_cpu);
// A process description, as exec uses it, after the update. kDataLoss: it is none.
absl::StatusOr<std::string> UpdateProcess(std::string_view process_json,
                                          const ResourceUpdate& update, bool exec_on_first_cpu);

}  // namespace berth::spec
