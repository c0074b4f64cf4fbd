// NodeFacts: what a container's spec depends on besides the request: what this kernel offers and
// what the daemon itself may do. A plain value, so that specs can be built and tested for other
// machines than this one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace berth::spec {

// A device node of the host.
struct HostDevice {
  std::string path;  // on the host, and in the container unless a Device says otherwise
  char type = 'c';   // 'c' or 'b'
  int64_t major = 0, minor = 0;
  mode_t mode = 0;  // permission bits
  uid_t uid = 0;
  gid_t gid = 0;
};

struct RlimitRange {
  uint64_t soft = 0, hard = 0;
};

struct NodeFacts {
  bool cgroup_v2 = false;
  // v2, mounted with nsdelegate (as systemd does): who is in a cgroup namespace cannot change the
  // limits of its root, nor move processes out of it (cgroup-v2.rst, "Delegation").
  bool cgroup_namespaces_delegate = false;
  bool has_hugetlb = false;          // a hugetlb controller is mounted
  bool has_swap_accounting = false;  // memory.memsw.* or memory.swap.*
  // The lowest oom_score_adj that the daemon may give: -1000 with CAP_SYS_RESOURCE, else its own.
  int min_oom_score_adj = -1000;
  // The daemon may raise hard limits (CAP_SYS_RESOURCE); else its own, by OCI name
  // ("RLIMIT_NOFILE"), are the ceiling.
  bool may_raise_rlimits = true;
  std::map<std::string, RlimitRange> rlimits;
  // /sys/devices/system/cpu/cpuN/thermal_throttle as far as they exist: masked.
  std::vector<std::string> thermal_throttle_paths;
};

// Looks at the machine, below `root` (tests give a tree made for them); what cannot be read counts
// as not there. `cgroup_v2` comes from cgroup::Hierarchy.
NodeFacts ProbeNode(bool cgroup_v2, const std::string& root = "");

// What a privileged container is given: device nodes below `dev_dir`, sorted by path; without
// /dev/pts, /dev/shm, /dev/mqueue, /dev/fd, terminals' /dev/tty and /dev/console (a container has
// its own), and without symlinks.
absl::StatusOr<std::vector<HostDevice>> ListHostDevices(const std::string& dev_dir);

}  // namespace berth::spec
