// Bandwidth limits of a pod from its annotations kubernetes.io/ingress-bandwidth and
// kubernetes.io/egress-bandwidth, for the `bandwidth` capability. Pure functions. Source: CNI
// conventions ("bandwidth"), Kubernetes "Network plugins, support traffic shaping",
// resource.Quantity's grammar.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace berth::cni {

// Bits per second and bits; 0: no limit.
struct Bandwidth {
  uint64_t ingress_rate = 0;
  uint64_t ingress_burst = 0;
  uint64_t egress_rate = 0;
  uint64_t egress_burst = 0;
  bool operator==(const Bandwidth&) const = default;
};

// A Kubernetes quantity ("10M", "1.5Gi", "2e3", "1500m") as a whole number, rounded up.
// kInvalidArgument: not a quantity, negative, or above 2^63-1.
absl::StatusOr<int64_t> ParseQuantity(std::string_view text);

// Nothing when neither annotation is there. kInvalidArgument: not a quantity, or outside 1k to 1P
// bit/s.
absl::StatusOr<std::optional<Bandwidth>> BandwidthFromAnnotations(
    const std::map<std::string, std::string>& annotations);

}  // namespace berth::cni
