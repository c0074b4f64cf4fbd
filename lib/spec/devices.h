// The devices a container asks for, looked up on the host.
// Threads: no state; reads the host's file system.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/container.h"
#include "lib/spec/node_facts.h"

namespace berth::spec {

struct Device {
  HostDevice host;
  std::string container_path;
  std::string access;  // of "rwm", for the device cgroup
};

// Follows symlinks; a directory stands for all device nodes below it. Empty permissions mean "rwm",
// an empty container path the host's. kInvalidArgument: a relative path, permissions other than of
// r, w and m, or neither device nor directory; kNotFound: no such file. At most 1024 devices
// (kOutOfRange).
absl::StatusOr<std::vector<Device>> ResolveDevices(const std::vector<model::DeviceSpec>& requested);

}  // namespace berth::spec
