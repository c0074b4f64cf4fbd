#include "lib/sandbox/sandbox_files.h"

#include <string_view>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "lib/model/id_map.h"

namespace berth::sandbox {

absl::StatusOr<std::string> ResolvConf(const model::DnsConfig& dns) {
  for (const auto* list : {&dns.servers, &dns.searches, &dns.options}) {
    for (const std::string& entry : *list) {
      if (entry.empty() ||
          entry.find_first_of(std::string_view("\n\r\0", 3)) != std::string::npos) {
        return absl::InvalidArgumentError(
            fmt::format("DNS entry '{}' is empty or holds a line break", entry));
      }
    }
  }
  std::string text;
  if (!dns.searches.empty()) {
    text += fmt::format("search {}\n", fmt::join(dns.searches, " "));
  }
  for (const std::string& server : dns.servers) {
    text += fmt::format("nameserver {}\n", server);
  }
  if (!dns.options.empty()) {
    text += fmt::format("options {}\n", fmt::join(dns.options, " "));
  }
  return text;
}

base::Owner RootOf(const model::SandboxSpec& spec) {
  if (!OwnsUsers(spec)) {
    return {};
  }
  return {model::IdOutside(spec.namespaces.uids, 0).value_or(0),
          model::IdOutside(spec.namespaces.gids, 0).value_or(0)};
}

std::string EffectiveHostname(const model::SandboxSpec& spec, const model::SandboxId& id,
                              const std::string& node_hostname) {
  if (!OwnsNetwork(spec)) {
    return node_hostname;
  }
  return spec.hostname.empty() ? id.Short() : spec.hostname;
}

}  // namespace berth::sandbox
