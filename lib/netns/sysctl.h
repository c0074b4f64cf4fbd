// Sysctls of a pod: which ones a pod may have, and where they are written.
//
// Only what the kernel keeps per namespace, and only when the pod has that namespace for itself, so
// that no pod changes the node: net.* (network), kernel.shm*, kernel.msg*, kernel.sem and
// fs.mqueue.* (ipc). Names and values come from the request and are never split or passed through a
// command line (CVE-2022-0811: a '+' in a value reached kernel.core_pattern).
//
// Threads: pure functions. Limits: 256 sysctls, names of 256 bytes, values of 1024.
// Source: man 7 namespaces, man 5 sysctl.d (names with '/' as separator), Kubernetes "Using
// sysctls".
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/security.h"

namespace berth::netns {

struct SysctlWrite {
  std::string path;   // "/proc/sys/net/ipv4/ip_forward"
  std::string value;  // as given
  std::string name;   // as given, for messages
};

// Checks all of them before anything is written. kInvalidArgument names the sysctl and what is
// wrong: not a namespaced one, the pod uses the node's namespace, or characters outside
// [A-Za-z0-9_./-] in the name or [A-Za-z0-9 \t_.,:/-] in the value.
absl::StatusOr<std::vector<SysctlWrite>> PlanSysctls(
    const std::map<std::string, std::string>& sysctls, bool own_net, bool own_ipc,
    const std::string& proc_root = "/proc");

// net.ipv4.ping_group_range names groups, and the kernel reads them as those of whoever writes.
// This is what `value` means in a pod with that map of groups, in groups of the node: "0
// 2147483647" is "100000 165535" where 0-65535 are mapped from 100000 on. The upper end is lowered
// to what is mapped in one piece with the lower one. Other values, and those whose lower end is not
// mapped: as they are; the kernel decides.
std::string PingGroupsOutside(const std::string& value,
                              const std::vector<model::IdMapping>& group_map);

}  // namespace berth::netns
