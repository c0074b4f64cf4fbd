#include "lib/spec/node_facts.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "absl/strings/str_split.h"
#include "fmt/format.h"

#include "lib/base/file.h"

namespace berth::spec {
namespace {

constexpr size_t kMaxProcBytes = 1 << 20;

struct Rlimit {
  const char* name;
  decltype(RLIMIT_AS) resource;
};

constexpr Rlimit kRlimits[] = {
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
};

std::string ReadOrEmpty(const std::string& path) {
  auto text = base::ReadFile(path, kMaxProcBytes);
  return text.ok() ? *std::move(text) : std::string();
}

bool HasEffectiveCapability(const std::string& status, int capability) {
  constexpr std::string_view kKey = "\nCapEff:\t";
  const size_t at = status.find(kKey);
  uint64_t set = 0;
  return at != std::string::npos &&
         std::from_chars(status.data() + at + kKey.size(), status.data() + status.size(), set, 16)
                 .ec == std::errc() &&
         (set >> capability & 1) != 0;
}

// v2: named in cgroup.controllers. v1: mounted in a directory of its name.
bool HasController(const std::string& sys_fs_cgroup, bool cgroup_v2, std::string_view name) {
  if (!cgroup_v2) {
    return base::PathExists(fmt::format("{}/{}/cgroup.procs", sys_fs_cgroup, name));
  }
  const std::string list = " " + ReadOrEmpty(sys_fs_cgroup + "/cgroup.controllers");
  const size_t at = list.find(fmt::format(" {}", name));
  return at != std::string::npos &&
         (list[at + 1 + name.size()] == ' ' || list[at + 1 + name.size()] == '\n' ||
          at + 1 + name.size() == list.size());
}

// v2's root cgroup has no memory.swap.max; any child of it with the controller has.
bool HasSwapAccounting(const std::string& sys_fs_cgroup, bool cgroup_v2) {
  if (!cgroup_v2) {
    return base::PathExists(sys_fs_cgroup + "/memory/memory.memsw.limit_in_bytes");
  }
  const auto names = base::ListDir(sys_fs_cgroup);
  bool has_memory = false;
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    if (base::PathExists(fmt::format("{}/{}/memory.swap.max", sys_fs_cgroup, name))) {
      return true;
    }
    has_memory |= base::PathExists(fmt::format("{}/{}/memory.max", sys_fs_cgroup, name));
  }
  // No child shows it either way: kernels with the controller have it unless booted with
  // swapaccount=0.
  return !has_memory && HasController(sys_fs_cgroup, true, "memory");
}

bool HasNsDelegate(const std::string& mountinfo) {
  const std::vector<std::string> lines = absl::StrSplit(mountinfo, '\n');
  return std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
    const std::vector<std::string> options = absl::StrSplit(line.substr(line.rfind(' ') + 1), ',');
    return line.find(" - cgroup2 ") != std::string::npos &&
           std::find(options.begin(), options.end(), "nsdelegate") != options.end();
  });
}

std::vector<std::string> ThermalThrottlePaths(const std::string& root) {
  std::vector<std::string> paths;
  const std::string cpus = "/sys/devices/system/cpu";
  const auto names = base::ListDir(root + cpus);
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    const bool is_cpu = name.size() > 3 && name.rfind("cpu", 0) == 0 &&
                        name.find_first_not_of("0123456789", 3) == std::string::npos;
    const std::string path = fmt::format("{}/{}/thermal_throttle", cpus, name);
    if (is_cpu && base::PathExists(root + path)) {
      paths.push_back(path);
    }
  }
  return paths;
}

}  // namespace

NodeFacts ProbeNode(bool cgroup_v2, const std::string& root) {
  NodeFacts node;
  node.cgroup_v2 = cgroup_v2;
  const std::string sys_fs_cgroup = root + "/sys/fs/cgroup";
  node.has_hugetlb = HasController(sys_fs_cgroup, cgroup_v2, "hugetlb");
  node.has_swap_accounting = HasSwapAccounting(sys_fs_cgroup, cgroup_v2);
  node.cgroup_namespaces_delegate =
      cgroup_v2 && HasNsDelegate(ReadOrEmpty(root + "/proc/self/mountinfo"));

  node.may_raise_rlimits =
      HasEffectiveCapability(ReadOrEmpty(root + "/proc/self/status"), CAP_SYS_RESOURCE);
  if (!node.may_raise_rlimits) {
    // Not below what it has itself: the kernel's lower bound cannot be read, but is no higher.
    node.min_oom_score_adj = static_cast<int>(
        std::strtol(ReadOrEmpty(root + "/proc/self/oom_score_adj").c_str(), nullptr, 10));
  }
  for (const Rlimit& limit : kRlimits) {
    struct rlimit range = {};
    if (::getrlimit(limit.resource, &range) == 0) {
      node.rlimits[limit.name] = {.soft = range.rlim_cur, .hard = range.rlim_max};
    }
  }
  node.thermal_throttle_paths = ThermalThrottlePaths(root);
  return node;
}

}  // namespace berth::spec
