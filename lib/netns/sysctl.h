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

}  // namespace berth::netns
