#include "lib/spec/resources.h"

#include <algorithm>
#include <cctype>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "lib/base/status.h"
#include "lib/spec/text.h"

namespace berth::spec {
namespace {

using Json = nlohmann::json;

constexpr int kMinOomScoreAdj = -1000;
constexpr int kMaxOomScoreAdj = 1000;

Json BuildCpu(const model::Resources& resources) {
  Json cpu = Json::object();
  if (resources.cpu_shares > 0) {
    cpu["shares"] = resources.cpu_shares;
  }
  // Negative: no limit, which is what a cgroup begins with; not every runtime can write it.
  if (resources.cpu_quota > 0) {
    cpu["quota"] = resources.cpu_quota;
  }
  if (resources.cpu_period > 0) {
    cpu["period"] = resources.cpu_period;
  }
  if (!resources.cpuset_cpus.empty()) {
    cpu["cpus"] = resources.cpuset_cpus;
  }
  if (!resources.cpuset_mems.empty()) {
    cpu["mems"] = resources.cpuset_mems;
  }
  return cpu;
}

absl::Status CheckCpu(const model::Resources& resources) {
  if (resources.cpu_shares < 0 || resources.cpu_period < 0) {
    return absl::InvalidArgumentError("cpu_shares and cpu_period must not be negative");
  }
  const auto is_list = [](const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](unsigned char c) {
      return std::isdigit(c) != 0 || c == ',' || c == '-';
    });
  };
  if (!is_list(resources.cpuset_cpus) || !is_list(resources.cpuset_mems)) {
    return absl::InvalidArgumentError("cpuset_cpus and cpuset_mems are lists such as '0-3,8'");
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> BuildMemory(const model::Resources& resources, const NodeFacts& node,
                                 const ResourceLimits& limits, std::vector<std::string>& warnings) {
  Json memory = Json::object();
  const int64_t limit = resources.memory_limit_bytes;
  const int64_t swap = resources.memory_swap_limit_bytes;
  if (limit > 0 && limit < limits.min_memory_bytes) {
    return absl::InvalidArgumentError(
        fmt::format("memory limit of {} bytes is below the {} bytes that a container needs to "
                    "start",
                    limit, limits.min_memory_bytes));
  }
  if (swap > 0 && limit > 0 && swap < limit) {
    return absl::InvalidArgumentError(
        fmt::format("memory_swap_limit_in_bytes {} is below the memory limit {}, which it includes",
                    swap, limit));
  }
  if (swap > 0 && limit <= 0) {
    return absl::InvalidArgumentError(
        "memory_swap_limit_in_bytes is set without memory_limit_in_bytes, which it includes");
  }
  if (limit != 0) {
    memory["limit"] = std::max<int64_t>(limit, -1);
  }
  if (swap != 0) {
    if (node.has_swap_accounting) {
      memory["swap"] = std::max<int64_t>(swap, -1);
    } else if (swap != limit) {
      warnings.push_back("the kernel does not account for swap: no swap limit is set");
    }
  } else if (limit > 0 && node.has_swap_accounting) {
    memory["swap"] = limit;
  }
  return memory;
}

// "64KB", "2MB", "1GB": what the kernel's files are called by.
bool IsPageSize(const std::string& text) {
  size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) {
    ++digits;
  }
  const std::string unit = text.substr(digits);
  return digits > 0 && digits < 8 && text[0] != '0' &&
         (unit == "KB" || unit == "MB" || unit == "GB");
}

absl::StatusOr<Json> BuildHugepages(const model::Resources& resources, const NodeFacts& node) {
  Json list = Json::array();
  for (const model::HugepageLimit& limit : resources.hugepage_limits) {
    if (!IsPageSize(limit.page_size)) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' is no huge page size, expected as in '2MB'", limit.page_size));
    }
    // The kubelet sends zeros for every size of the node, whether or not anybody could use them.
    if (!node.has_hugetlb && limit.limit != 0) {
      return absl::InvalidArgumentError(
          fmt::format("limit on {} pages: this node has no hugetlb controller", limit.page_size));
    }
    if (node.has_hugetlb) {
      list.push_back({{"pageSize", limit.page_size}, {"limit", limit.limit}});
    }
  }
  return list;
}

absl::StatusOr<Json> BuildUnified(const model::Resources& resources, const NodeFacts& node) {
  Json files = Json::object();
  if (!resources.unified.empty() && !node.cgroup_v2) {
    return absl::InvalidArgumentError("'unified' resources need cgroup v2, which this node lacks");
  }
  for (const auto& [name, value] : resources.unified) {
    RETURN_IF_ERROR(CheckText(name, "a unified resource"));
    RETURN_IF_ERROR(CheckText(value, "the value of a unified resource"));
    // A file of the container's own cgroup, nothing above or below it.
    if (name.find('/') != std::string::npos || name.find('.') == std::string::npos ||
        name.front() == '.' || HasControlCharacters(name)) {
      return absl::InvalidArgumentError(
          fmt::format("unified resource '{}' is not the name of a cgroup file", name));
    }
    files[name] = value;
  }
  return files;
}

}  // namespace

absl::StatusOr<ResourcesOutput> BuildResources(const model::Resources& resources,
                                               const NodeFacts& node,
                                               const ResourceLimits& limits) {
  ResourcesOutput output;
  Json json = Json::object();
  const auto add = [&](const char* key, Json value) {
    if (!value.empty()) {
      json[key] = std::move(value);
    }
  };
  RETURN_IF_ERROR(CheckCpu(resources));
  add("cpu", BuildCpu(resources));
  ASSIGN_OR_RETURN(Json memory, BuildMemory(resources, node, limits, output.warnings));
  add("memory", std::move(memory));
  if (limits.pids_limit > 0) {
    add("pids", {{"limit", limits.pids_limit}});
  }
  ASSIGN_OR_RETURN(Json hugepages, BuildHugepages(resources, node));
  add("hugepageLimits", std::move(hugepages));
  ASSIGN_OR_RETURN(Json unified, BuildUnified(resources, node));
  add("unified", std::move(unified));
  output.json = json.dump();

  if (resources.oom_score_adj < kMinOomScoreAdj || resources.oom_score_adj > kMaxOomScoreAdj) {
    return absl::InvalidArgumentError(fmt::format("oom_score_adj {} is not between {} and {}",
                                                  resources.oom_score_adj, kMinOomScoreAdj,
                                                  kMaxOomScoreAdj));
  }
  output.oom_score_adj = static_cast<int>(resources.oom_score_adj);
  if (output.oom_score_adj < node.min_oom_score_adj) {
    output.warnings.push_back(fmt::format("oom_score_adj {} raised to {}, the lowest allowed here",
                                          output.oom_score_adj, node.min_oom_score_adj));
    output.oom_score_adj = node.min_oom_score_adj;
  }
  return output;
}

}  // namespace berth::spec
