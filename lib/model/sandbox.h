// Pod sandboxes: what was asked for (SandboxSpec, unchanged after creation) and what became of it
// (SandboxRecord, stored).
//
//   CREATING --network up--> READY --StopPodSandbox / pause died--> NOT_READY --RemovePodSandbox-->
//   (gone)
//
// The record is stored before the first side effect; one found CREATING at start is undone by its
// id alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/ids.h"
#include "lib/model/security.h"

namespace berth::model {

struct PortMapping {
  enum class Protocol { kTcp = 0, kUdp = 1, kSctp = 2 };
  Protocol protocol = Protocol::kTcp;
  int32_t container_port = 0;
  int32_t host_port = 0;  // 0: not mapped
  std::string host_ip;    // empty: every address
};

struct DnsConfig {
  std::vector<std::string> servers, searches, options;
  bool empty() const { return servers.empty() && searches.empty() && options.empty(); }
};

struct SandboxSpec {
  // CRI v1 PodSandboxMetadata
  std::string name, uid, ns;
  uint32_t attempt = 0;

  std::string hostname;
  std::string log_directory;
  DnsConfig dns;
  std::vector<PortMapping> port_mappings;
  std::map<std::string, std::string> labels, annotations;
  std::string runtime_handler;  // as requested; empty: the default
  // CRI v1 LinuxPodSandboxConfig
  std::string cgroup_parent;
  std::map<std::string, std::string> sysctls;
  NamespaceOptions namespaces;
  bool privileged = false;
  SelinuxOptions selinux;
  std::optional<Resources> overhead, resources;

  // `k8s_<pod>_<ns>_<uid>_<attempt>`: unique on the node.
  std::string FullName() const {
    return "k8s_" + name + "_" + ns + "_" + uid + "_" + std::to_string(attempt);
  }
};

enum class SandboxState { kCreating, kReady, kNotReady };

struct SandboxRecord {
  SandboxId id;
  SandboxSpec spec;
  SandboxState state = SandboxState::kCreating;
  int64_t created_ns = 0;    // CLOCK_REALTIME
  int32_t pause_pid = 0;     // 0: none
  uint64_t pause_start = 0;  // field 22 of /proc/PID/stat
  std::string cgroup;  // relative to the hierarchy, or the scope's unit name, as lib/cgroup made it
  std::string hostname;          // the one in effect
  std::vector<std::string> ips;  // first: the primary one
  std::string cni_attachment;    // lib/cni's own JSON; empty: no network to take down
  bool network_down = false;     // CNI DEL has succeeded
};

}  // namespace berth::model
