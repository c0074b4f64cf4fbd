#include "lib/cni/capabilities.h"

#include <arpa/inet.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <string_view>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/cni/json.h"

namespace berth::cni {

namespace {

constexpr size_t kMaxPortMappings = 4096;
// The kernel's IFNAMSIZ less the final zero.
constexpr size_t kMaxInterfaceName = 15;

bool IsAddress(const std::string& text) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, text.c_str(), bytes) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), bytes) == 1;
}

// No separator of CNI_ARGS and nothing unprintable.
absl::Status ValidateArg(const char* what, const std::string& value) {
  const bool bad = std::any_of(value.begin(), value.end(), [](char c) {
    return c == ';' || c == '=' || static_cast<unsigned char>(c) <= ' ' || c == 0x7f;
  });
  if (bad) {
    return absl::InvalidArgumentError(fmt::format(
        "{} '{}' has a character that cni arguments cannot hold", what, Excerpt(value, 64)));
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> PortMappings(const PodNetwork& pod) {
  Json list = Json::array();
  for (const PortMapping& mapping : pod.port_mappings) {
    if (mapping.host_port == 0) {
      continue;
    }
    const auto is_port = [](int32_t port) { return port >= 1 && port <= 65535; };
    if (!is_port(mapping.host_port) || !is_port(mapping.container_port)) {
      return absl::InvalidArgumentError(fmt::format("port mapping {} to {}: ports are 1 to 65535",
                                                    mapping.host_port, mapping.container_port));
    }
    if (mapping.protocol != "tcp" && mapping.protocol != "udp" && mapping.protocol != "sctp") {
      return absl::InvalidArgumentError(
          fmt::format("port mapping of host port {}: protocol '{}' is not tcp, udp or sctp",
                      mapping.host_port, Excerpt(mapping.protocol, 16)));
    }
    Json entry = {{"hostPort", mapping.host_port},
                  {"containerPort", mapping.container_port},
                  {"protocol", mapping.protocol}};
    if (!mapping.host_ip.empty()) {
      if (!IsAddress(mapping.host_ip)) {
        return absl::InvalidArgumentError(
            fmt::format("port mapping of host port {}: '{}' is not an address", mapping.host_port,
                        Excerpt(mapping.host_ip, 64)));
      }
      entry["hostIP"] = mapping.host_ip;
    }
    list.push_back(std::move(entry));
  }
  if (list.size() > kMaxPortMappings) {
    return absl::InvalidArgumentError(fmt::format("more than {} port mappings", kMaxPortMappings));
  }
  return list;
}

Json BandwidthArg(const Bandwidth& bandwidth) {
  Json object = Json::object();
  if (bandwidth.ingress_rate != 0) {
    object["ingressRate"] = bandwidth.ingress_rate;
    object["ingressBurst"] = bandwidth.ingress_burst;
  }
  if (bandwidth.egress_rate != 0) {
    object["egressRate"] = bandwidth.egress_rate;
    object["egressBurst"] = bandwidth.egress_burst;
  }
  return object;
}

Json DnsArg(const DnsConfig& dns) {
  return {{"servers", dns.servers}, {"searches", dns.searches}, {"options", dns.options}};
}

}  // namespace

absl::Status ValidateIdentity(const PodNetwork& pod) {
  // CNI spec: the id starts with a letter or digit, then those and "_.-".
  const auto is_alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  const bool id_ok = !pod.id.empty() && pod.id.size() <= 256 && is_alnum(pod.id[0]) &&
                     std::all_of(pod.id.begin(), pod.id.end(), [&](char c) {
                       return is_alnum(c) || c == '_' || c == '.' || c == '-';
                     });
  if (!id_ok) {
    return absl::InvalidArgumentError(
        fmt::format("sandbox id '{}' is not one that cni allows", Excerpt(pod.id, 64)));
  }
  const std::string& name = pod.interface_name;
  const bool name_ok = !name.empty() && name.size() <= kMaxInterfaceName && name != "." &&
                       name != ".." && std::all_of(name.begin(), name.end(), [](char c) {
                         return c > ' ' && c < 0x7f && c != '/' && c != ':';
                       });
  if (!name_ok) {
    return absl::InvalidArgumentError(
        fmt::format("interface name '{}' is not one that the kernel allows", Excerpt(name, 64)));
  }
  if (pod.netns_path.empty() || pod.netns_path[0] != '/') {
    return absl::InvalidArgumentError(
        fmt::format("netns path '{}' is not absolute", Excerpt(pod.netns_path, 64)));
  }
  RETURN_IF_ERROR(ValidateArg("pod name", pod.name));
  RETURN_IF_ERROR(ValidateArg("pod namespace", pod.namespace_name));
  return ValidateArg("pod uid", pod.uid);
}

std::string CniArgs(const PodNetwork& pod) {
  return fmt::format(
      "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_"
      "UID={}",
      pod.namespace_name, pod.name, pod.id, pod.uid);
}

absl::StatusOr<std::string> CapabilityArgs(const PodNetwork& pod) {
  Json args = Json::object();
  ASSIGN_OR_RETURN(Json mappings, PortMappings(pod));
  if (!mappings.empty()) {
    args["portMappings"] = std::move(mappings);
  }
  if (pod.bandwidth.has_value()) {
    args["bandwidth"] = BandwidthArg(*pod.bandwidth);
  }
  if (pod.dns.has_value()) {
    args["dns"] = DnsArg(*pod.dns);
  }
  if (!pod.ips.empty()) {
    args["ips"] = pod.ips;
  }
  if (!pod.cgroup_path.empty()) {
    args["cgroupPath"] = pod.cgroup_path;
  }
  if (!pod.annotations.empty()) {
    args["io.kubernetes.cri.pod-annotations"] = pod.annotations;
  }
  return DumpJson(args);
}

bool IsLiveNetns(const std::string& path) {
  struct statfs fs = {};
  return ::statfs(path.c_str(), &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

}  // namespace berth::cni
