// Attachment: one pod's interface on one network: everything that CHECK and DEL need, also after a
// restart, a changed configuration or the loss of the pod's netns. The sandbox record stores it as
// JSON; that record is the result cache.
//
// Made by CniInvoker::Plan() with no result, so that it can be recorded before ADD; completed by
// ADD. Passive values; thread-compatible.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/cni/bandwidth.h"

namespace berth::cni {

struct PortMapping {
  std::string protocol = "tcp";  // "tcp", "udp", "sctp"
  int32_t container_port = 0;
  int32_t host_port = 0;  // 0: not mapped, ignored
  std::string host_ip;    // empty: every address
};

struct DnsConfig {
  std::vector<std::string> servers;
  std::vector<std::string> searches;
  std::vector<std::string> options;
};

// What a pod asks of its network.
struct PodNetwork {
  std::string id;  // the sandbox's: CNI_CONTAINERID
  std::string name;
  std::string namespace_name;
  std::string uid;
  std::string netns_path;
  std::string interface_name = "eth0";
  // Passed to plugins that declare the capability (portMappings, bandwidth, dns, ips, cgroupPath,
  // io.kubernetes.cri.pod-annotations), and to no other.
  std::vector<PortMapping> port_mappings;
  std::optional<Bandwidth> bandwidth;
  std::optional<DnsConfig> dns;
  std::vector<std::string> ips;
  std::string cgroup_path;
  std::map<std::string, std::string> annotations;
};

// What GC knows attachments by.
struct AttachmentId {
  std::string network;
  std::string container_id;
  std::string interface_name;
  auto operator<=>(const AttachmentId&) const = default;
};

struct Attachment {
  std::string network;
  std::string config_bytes;  // the network's configuration as it was at ADD
  std::string container_id;
  std::string interface_name;
  std::string netns_path;
  std::string pod;           // "namespace/name", for messages
  std::string cni_args;      // "IgnoreUnknown=1;K8S_POD_NAMESPACE=..."
  std::string capabilities;  // JSON object: capability -> its argument
  std::string result;        // JSON of the last plugin's result; empty before ADD
  std::vector<std::string>
      ips;  // of the pod, without prefix length; the first one is its primary address

  AttachmentId Id() const { return {network, container_id, interface_name}; }
  std::string ToJson() const;
  // kDataLoss: not an attachment.
  static absl::StatusOr<Attachment> FromJson(std::string_view json);
};

}  // namespace berth::cni
