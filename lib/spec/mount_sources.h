// The host side of a container's bind mounts, made ready before the spec is built.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "lib/model/container.h"

namespace berth::spec {

// For every mount with a host_path: makes it as a directory (0755) when it is absent, replaces it
// by what its symlinks lead to, and checks that its mount allows the propagation: kBidirectional
// needs a shared one, kHostToContainer a shared or a slave one (`proc_root`/self/mountinfo).
// kInvalidArgument: a relative path or too little propagation; others by errno. Threads: no state.
// Not undone: as with every runtime, a directory made stays.
absl::Status PrepareMountSources(std::vector<model::MountSpec>& mounts,
                                 const std::string& proc_root = "/proc");

}  // namespace berth::spec
