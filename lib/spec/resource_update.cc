#include "lib/spec/resource_update.h"

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

#include "lib/base/status.h"
#include "lib/model/resources.h"
#include "lib/spec/exec_cpu.h"

namespace berth::spec {
namespace {

using Json = nlohmann::json;

// The part of `merged` that `wanted` touches.
model::Resources Touched(const model::Resources& wanted, const model::Resources& merged) {
  model::Resources touched;
  touched.cpu_shares = wanted.cpu_shares;
  if (wanted.cpu_quota != 0 || wanted.cpu_period != 0) {
    touched.cpu_quota = merged.cpu_quota;
    touched.cpu_period = merged.cpu_period;
  }
  if (wanted.memory_limit_bytes != 0 || wanted.memory_swap_limit_bytes != 0) {
    touched.memory_limit_bytes = merged.memory_limit_bytes;
    touched.memory_swap_limit_bytes = merged.memory_swap_limit_bytes;
  }
  touched.cpuset_cpus = wanted.cpuset_cpus;
  touched.cpuset_mems = wanted.cpuset_mems;
  touched.unified = wanted.unified;
  return touched;
}

void ApplyToProcess(const ResourceUpdate& update, bool exec_on_first_cpu, Json& process) {
  process["oomScoreAdj"] = update.oom_score_adj;
  SetExecCpu(process, update.resources, exec_on_first_cpu);
}

}  // namespace

absl::StatusOr<ResourceUpdate> PlanResourceUpdate(const model::Resources& current,
                                                  const model::Resources& wanted,
                                                  const NodeFacts& node,
                                                  const ResourceLimits& limits) {
  ResourceUpdate update;
  update.resources = model::MergeResources(current, wanted);
  ASSIGN_OR_RETURN(ResourcesOutput whole, BuildResources(update.resources, node, limits));
  const model::Resources touched = Touched(wanted, update.resources);
  ASSIGN_OR_RETURN(const ResourcesOutput part, BuildResources(touched, node, {}));
  Json json = Json::parse(part.json);
  update.lifts_cpu_quota = touched.cpu_quota < 0;
  if (update.lifts_cpu_quota && node.cgroup_v2) {
    json["cpu"]["quota"] = -1;  // for systemd, which keeps limits of its own
  }
  update.runtime_json = json.empty() ? "" : json.dump();
  update.oom_score_adj = whole.oom_score_adj;
  update.resources_json = std::move(whole.json);
  update.warnings = std::move(whole.warnings);
  return update;
}

absl::StatusOr<std::string> UpdateConfig(std::string_view config_json, const ResourceUpdate& update,
                                         bool exec_on_first_cpu) {
  Json config = Json::parse(config_json, nullptr, /*allow_exceptions=*/false);
  const bool is_config = config.is_object() && config.contains("linux") &&
                         config["linux"].is_object() && config.contains("process") &&
                         config["process"].is_object();
  Json resources = Json::parse(update.resources_json, nullptr, /*allow_exceptions=*/false);
  if (!is_config || !resources.is_object()) {
    return absl::DataLossError("the description of the container is damaged");
  }
  Json& old = config["linux"]["resources"];
  for (const char* kept : {"devices", "pids", "blockIO"}) {
    if (old.is_object() && old.contains(kept)) {
      resources[kept] = old[kept];
    }
  }
  old = std::move(resources);
  ApplyToProcess(update, exec_on_first_cpu, config["process"]);
  return config.dump();
}

absl::StatusOr<std::string> UpdateProcess(std::string_view process_json,
                                          const ResourceUpdate& update, bool exec_on_first_cpu) {
  Json process = Json::parse(process_json, nullptr, /*allow_exceptions=*/false);
  if (!process.is_object()) {
    return absl::DataLossError("the process description of the container is damaged");
  }
  ApplyToProcess(update, exec_on_first_cpu, process);
  return process.dump();
}

}  // namespace berth::spec
