// What a pod's containers see as /etc/resolv.conf and /etc/hostname, and which namespaces a pod has
// for itself. Pure functions. Source: CRI v1 DNSConfig, PodSandboxConfig.hostname; man 5
// resolv.conf.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "lib/base/beneath.h"
#include "lib/model/sandbox.h"

namespace berth::sandbox {

inline bool OwnsNetwork(const model::SandboxSpec& spec) {
  return spec.namespaces.network != model::NamespaceMode::kNode;
}
inline bool OwnsIpc(const model::SandboxSpec& spec) {
  return spec.namespaces.ipc != model::NamespaceMode::kNode;
}
// Whether the pod's containers share one PID namespace, whose init is the pause.
inline bool SharesPid(const model::SandboxSpec& spec) {
  return spec.namespaces.pid == model::NamespaceMode::kPod;
}
// Whether the pod's ids are not the node's.
inline bool OwnsUsers(const model::SandboxSpec& spec) {
  return spec.namespaces.user == model::NamespaceMode::kPod;
}
// Who the pod's root is on the node.
base::Owner RootOf(const model::SandboxSpec& spec);

// Lines in the order search, nameserver, options. Empty when dns is: the node's own file is used
// then. kInvalidArgument: an entry with a line break or NUL.
absl::StatusOr<std::string> ResolvConf(const model::DnsConfig& dns);

// The hostname in effect: the one asked for; the node's for a pod on the node's network; else the
// first 12 digits of the id.
std::string EffectiveHostname(const model::SandboxSpec& spec, const model::SandboxId& id,
                              const std::string& node_hostname);

}  // namespace berth::sandbox
