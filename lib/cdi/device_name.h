// Names of CDI devices, "vendor.com/class=device", and where a container asks for them.
// Threads: pure. Source: CDI specification "Kind", "CDI Devices".
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace berth::cdi {

// The beginning of annotations whose values are device names, separated by commas.
inline constexpr std::string_view kAnnotationPrefix = "cdi.k8s.io/";

// kInvalidArgument names the text and what is wrong.
absl::Status CheckKind(std::string_view kind);         // "vendor.com/class"
absl::Status CheckShortName(std::string_view device);  // "device"
absl::Status CheckDeviceName(std::string_view name);   // all of it

// The devices of CRI v1 ContainerConfig.CDI_devices and of the container's annotations, in this
// order, each once. kInvalidArgument: a name that is none. The pod's annotations do not count: its
// author writes them, while a container's come from the kubelet.
absl::StatusOr<std::vector<std::string>> RequestedDevices(
    const std::vector<std::string>& devices, const std::map<std::string, std::string>& annotations);

}  // namespace berth::cdi
