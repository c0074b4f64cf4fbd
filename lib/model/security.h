// What pods and containers share of the CRI's security and resource messages.
// Passive values. Source: CRI v1 NamespaceOption, SecurityProfile, LinuxContainerResources.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace berth::model {

enum class NamespaceMode { kPod = 0, kContainer = 1, kNode = 2, kTarget = 3 };

struct IdMapping {
  uint32_t host_id = 0;
  uint32_t container_id = 0;
  uint32_t length = 0;
  bool operator==(const IdMapping&) const = default;
};

struct NamespaceOptions {
  NamespaceMode network = NamespaceMode::kPod;
  NamespaceMode pid = NamespaceMode::kPod;
  NamespaceMode ipc = NamespaceMode::kPod;
  std::string target_id;  // container whose PID namespace is joined (kTarget)
  // kPod: a user namespace with the maps below; kNode: the node's. Nothing: the node's for a pod,
  // the pod's for a container.
  std::optional<NamespaceMode> user;
  std::vector<IdMapping> uids;
  std::vector<IdMapping> gids;
};

struct SecurityProfile {
  enum class Type { kRuntimeDefault = 0, kUnconfined = 1, kLocalhost = 2 };
  Type type =
      Type::kUnconfined;  // what an absent message means for seccomp; parse sets it for AppArmor
  std::string localhost_ref;
};

struct SelinuxOptions {
  std::string user, role, type, level;
  bool empty() const { return user.empty() && role.empty() && type.empty() && level.empty(); }
};

enum class SupplementalGroupsPolicy { kMerge = 0, kStrict = 1 };

struct HugepageLimit {
  std::string page_size;  // "2MB"
  uint64_t limit = 0;     // bytes
};

// 0 or empty means: not given.
struct Resources {
  int64_t cpu_period = 0;  // microseconds
  int64_t cpu_quota = 0;   // microseconds; < 0: no limit
  int64_t cpu_shares = 0;
  int64_t memory_limit_bytes = 0;
  int64_t memory_swap_limit_bytes = 0;  // memory + swap; -1: no limit
  int64_t oom_score_adj = 0;
  std::string cpuset_cpus;
  std::string cpuset_mems;
  std::vector<HugepageLimit> hugepage_limits;
  std::map<std::string, std::string> unified;  // cgroup v2 files
};

}  // namespace berth::model
