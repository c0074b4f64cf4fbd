// Capabilities: names, bits, and which ones a container gets.
//
// Threads: pure functions, but for ReadOwnBoundingSet, which reads /proc.
// Source: man 7 capabilities; CRI v1 Capability; the default set is that of Kubernetes' runtimes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/container.h"

namespace berth::security {

// Bit n: capability number n of <linux/capability.h>.
using CapabilitySet = uint64_t;

inline constexpr int kLastCapability = 40;  // CAP_CHECKPOINT_RESTORE
inline constexpr CapabilitySet kAllCapabilities = (CapabilitySet{1} << (kLastCapability + 1)) - 1;

// "CAP_CHOWN"; number in 0..kLastCapability.
std::string_view CapabilityName(int number);
// "CAP_CHOWN", "chown", "NET_BIND_SERVICE". nullopt: no such capability.
std::optional<int> ParseCapability(std::string_view name);
// Names in order of their numbers.
std::vector<std::string> CapabilityNames(CapabilitySet set);
// kInvalidArgument names the one that is no capability.
absl::StatusOr<CapabilitySet> ParseCapabilities(const std::vector<std::string>& names);

// CHOWN, DAC_OVERRIDE, FSETID, FOWNER, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, KILL.
CapabilitySet DefaultCapabilities();

// CapBnd of <proc_root>/self/status: what this daemon can hand on at most.
absl::StatusOr<CapabilitySet> ReadOwnBoundingSet(const std::string& proc_root = "/proc");

struct GrantedCapabilities {
  CapabilitySet granted = 0;  // bounding, permitted, effective
  CapabilitySet ambient =
      0;  // ambient and inheritable: empty unless asked for or privileged (CVE-2022-24769)
  CapabilitySet clamped = 0;  // asked for, but not in the daemon's bounding set
};

// Privileged: all, ambient too. Else `defaults` and the added ones without the dropped ones. "ALL"
// in either list replaces the defaults by all or none; single names then still count, and what both
// lists say is dropped. Ambient ones are granted as well. All within `bounding`.
// kInvalidArgument: no such capability, by name.
absl::StatusOr<GrantedCapabilities> GrantCapabilities(const model::ContainerSecurity& security,
                                                      CapabilitySet defaults,
                                                      CapabilitySet bounding);

}  // namespace berth::security
