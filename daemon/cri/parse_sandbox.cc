#include "daemon/cri/parse_sandbox.h"

#include <arpa/inet.h>

#include <algorithm>

#include "fmt/format.h"

#include "daemon/cri/fields.h"
#include "daemon/cri/parse_security.h"
#include "daemon/cri/text.h"
#include "lib/base/status.h"

namespace berth::cri {

namespace {

bool IsIpAddress(const std::string& text) {
  unsigned char bytes[sizeof(in6_addr)];
  // "fe80::1%eth0" is fine for a resolver.
  const std::string address = text.substr(0, text.find('%'));
  return inet_pton(AF_INET, text.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, address.c_str(), bytes) == 1;
}

absl::Status ParseMetadata(const api::PodSandboxConfig& config, model::SandboxSpec& spec) {
  if (!config.has_metadata()) {
    return FieldError("config.metadata", "is missing");
  }
  const api::PodSandboxMetadata& metadata = config.metadata();
  RETURN_IF_ERROR(CheckName("config.metadata.name", metadata.name()));
  RETURN_IF_ERROR(CheckName("config.metadata.namespace", metadata.namespace_()));
  RETURN_IF_ERROR(CheckName("config.metadata.uid", metadata.uid()));
  spec.name = metadata.name();
  spec.ns = metadata.namespace_();
  spec.uid = metadata.uid();
  spec.attempt = metadata.attempt();
  return absl::OkStatus();
}

absl::Status CheckHostname(const std::string& hostname) {
  RETURN_IF_ERROR(CheckWord("config.hostname", hostname, kMaxHostnameBytes));
  return hostname.find_first_of(" /") == std::string::npos
             ? absl::OkStatus()
             : FieldError("config.hostname",
                          fmt::format("'{}' contains a space or a slash", hostname));
}

// One word each, so that none can add lines or words of its own to resolv.conf.
absl::StatusOr<std::vector<std::string>> ParseDnsWords(
    const char* field, const google::protobuf::RepeatedPtrField<std::string>& words) {
  if (words.size() > kMaxDnsEntries) {
    return FieldError(
        field, fmt::format("has {} entries; at most {} are allowed", words.size(), kMaxDnsEntries));
  }
  for (const std::string& word : words) {
    RETURN_IF_ERROR(CheckName(field, word));
    if (word.find(' ') != std::string::npos) {
      return FieldError(field, fmt::format("has the entry '{}', which contains a space", word));
    }
  }
  return std::vector<std::string>(words.begin(), words.end());
}

absl::StatusOr<model::DnsConfig> ParseDns(const api::DNSConfig& config) {
  model::DnsConfig dns;
  ASSIGN_OR_RETURN(dns.servers, ParseDnsWords("config.dns_config.servers", config.servers()));
  ASSIGN_OR_RETURN(dns.searches, ParseDnsWords("config.dns_config.searches", config.searches()));
  ASSIGN_OR_RETURN(dns.options, ParseDnsWords("config.dns_config.options", config.options()));
  const auto bad = std::find_if_not(dns.servers.begin(), dns.servers.end(), IsIpAddress);
  if (bad != dns.servers.end()) {
    return FieldError("config.dns_config.servers",
                      fmt::format("has '{}', which is no IP address", *bad));
  }
  return dns;
}

absl::StatusOr<model::PortMapping> ParsePort(const std::string& field,
                                             const api::PortMapping& port) {
  if (!api::Protocol_IsValid(port.protocol())) {
    return FieldError(field + ".protocol",
                      fmt::format("has the unknown value {}", static_cast<int>(port.protocol())));
  }
  if (port.container_port() < 1 || port.container_port() > 65535) {
    return FieldError(field + ".container_port",
                      fmt::format("is {}; 1 to 65535 are allowed", port.container_port()));
  }
  if (port.host_port() < 0 || port.host_port() > 65535) {
    return FieldError(
        field + ".host_port",
        fmt::format("is {}; 1 to 65535, or 0 for none, are allowed", port.host_port()));
  }
  RETURN_IF_ERROR(CheckWord(field + ".host_ip", port.host_ip()));
  if (!port.host_ip().empty() && !IsIpAddress(port.host_ip())) {
    return FieldError(field + ".host_ip", fmt::format("'{}' is no IP address", port.host_ip()));
  }
  return model::PortMapping{.protocol = static_cast<model::PortMapping::Protocol>(port.protocol()),
                            .container_port = port.container_port(),
                            .host_port = port.host_port(),
                            .host_ip = port.host_ip()};
}

absl::Status ParsePorts(const api::PodSandboxConfig& config, model::SandboxSpec& spec) {
  if (config.port_mappings_size() > kMaxPortMappings) {
    return FieldError("config.port_mappings",
                      fmt::format("has {} entries; at most {} are allowed",
                                  config.port_mappings_size(), kMaxPortMappings));
  }
  for (int i = 0; i < config.port_mappings_size(); ++i) {
    ASSIGN_OR_RETURN(model::PortMapping port, ParsePort(fmt::format("config.port_mappings[{}]", i),
                                                        config.port_mappings(i)));
    spec.port_mappings.push_back(std::move(port));
  }
  return absl::OkStatus();
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
const std::string& OldSeccomp(const api::LinuxSandboxSecurityContext& context) {
  return context.seccomp_profile_path();
}
#pragma GCC diagnostic pop

// The user, groups, profiles and the read-only root are checked for sense and go no further: they
// are for a pod's own process, and berth's pause runs nothing of the pod's, has no root file system
// and is always confined. Containers say each what they want for themselves.
absl::Status ParseSecurity(const api::LinuxSandboxSecurityContext& context,
                           model::SandboxSpec& spec) {
  const std::string field = "config.linux.security_context";
  ASSIGN_OR_RETURN(spec.namespaces, ParseNamespaces(field + ".namespace_options", Owner::kSandbox,
                                                    context.namespace_options()));
  spec.privileged = context.privileged();
  spec.selinux = ParseSelinux(context.selinux_options());
  if (context.has_run_as_user()) {
    RETURN_IF_ERROR(ParseId(field + ".run_as_user", context.run_as_user().value()).status());
  }
  if (context.has_run_as_group()) {
    RETURN_IF_ERROR(ParseId(field + ".run_as_group", context.run_as_group().value()).status());
    if (!context.has_run_as_user()) {
      return FieldError(field + ".run_as_group", "is set without run_as_user");
    }
  }
  for (const int64_t group : context.supplemental_groups()) {
    RETURN_IF_ERROR(ParseId(field + ".supplemental_groups", group).status());
  }
  if (!api::SupplementalGroupsPolicy_IsValid(context.supplemental_groups_policy())) {
    return FieldError(field + ".supplemental_groups_policy", "has an unknown value");
  }
  if (context.has_seccomp()) {
    RETURN_IF_ERROR(ParseSeccomp(field + ".seccomp", context.seccomp()).status());
  }
  RETURN_IF_ERROR(ParseSeccompText(field + ".seccomp_profile_path", OldSeccomp(context)).status());
  if (context.has_apparmor()) {
    RETURN_IF_ERROR(ParseApparmor(field + ".apparmor", context.apparmor()).status());
  }
  return absl::OkStatus();
}

absl::Status ParseLinux(const api::LinuxPodSandboxConfig& config, model::SandboxSpec& spec) {
  RETURN_IF_ERROR(CheckWord("config.linux.cgroup_parent", config.cgroup_parent(), 4096));
  spec.cgroup_parent = config.cgroup_parent();
  for (const auto& [name, value] : config.sysctls()) {
    const std::string field = fmt::format("config.linux.sysctls['{}']", OneLine(name, 64));
    RETURN_IF_ERROR(CheckName(field, name));
    RETURN_IF_ERROR(CheckNoNul(field, value));
    spec.sysctls.emplace(name, value);
  }
  if (config.has_overhead()) {
    ASSIGN_OR_RETURN(spec.overhead, ParseResources("config.linux.overhead", config.overhead()));
  }
  if (config.has_resources()) {
    ASSIGN_OR_RETURN(spec.resources, ParseResources("config.linux.resources", config.resources()));
  }
  return ParseSecurity(config.security_context(), spec);
}

}  // namespace

absl::StatusOr<model::SandboxSpec> ParseSandbox(const api::RunPodSandboxRequest& request) {
  if (!request.has_config()) {
    return FieldError("config", "is missing");
  }
  const api::PodSandboxConfig& config = request.config();
  RETURN_IF_ERROR(CheckNotWindows("config.windows", config.windows()));
  model::SandboxSpec spec;
  RETURN_IF_ERROR(ParseMetadata(config, spec));
  RETURN_IF_ERROR(CheckHostname(config.hostname()));
  spec.hostname = config.hostname();
  if (!config.log_directory().empty()) {
    RETURN_IF_ERROR(CheckAbsolutePath("config.log_directory", config.log_directory()));
    spec.log_directory = config.log_directory();
  }
  ASSIGN_OR_RETURN(spec.dns, ParseDns(config.dns_config()));
  RETURN_IF_ERROR(ParsePorts(config, spec));
  ASSIGN_OR_RETURN(spec.labels, ParseLabels("config.labels", config.labels()));
  ASSIGN_OR_RETURN(spec.annotations, ParseAnnotations("config.annotations", config.annotations()));
  RETURN_IF_ERROR(ParseLinux(config.linux(), spec));
  RETURN_IF_ERROR(CheckWord("runtime_handler", request.runtime_handler()));
  spec.runtime_handler = request.runtime_handler();
  return spec;
}

}  // namespace berth::cri
