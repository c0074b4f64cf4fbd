// How a pod's wishes are written for plugins: CNI_ARGS and the arguments of capabilities. Private
// to this library. Threads: pure functions, but for IsLiveNetns. Source: CNI conventions, "Dynamic
// plugin specific fields"; CNI spec 1.1 section 2, "Parameters".
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "lib/cni/attachment.h"

namespace berth::cni {

// kInvalidArgument: an id, name or interface name with characters that have a meaning in CNI's
// parameters.
absl::Status ValidateIdentity(const PodNetwork& pod);

// "IgnoreUnknown=1;K8S_POD_NAMESPACE=...". The pod is valid.
std::string CniArgs(const PodNetwork& pod);

// A JSON object: capability -> its argument, of those that the pod has anything for.
// kInvalidArgument: a port, protocol or address.
absl::StatusOr<std::string> CapabilityArgs(const PodNetwork& pod);

// Whether the path is a namespace still.
bool IsLiveNetns(const std::string& path);

}  // namespace berth::cni
