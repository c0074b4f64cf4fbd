// The boot's id.
// Threads: a free function without state.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace berth::base {

// What the kernel calls the time since the machine started (/proc/sys/kernel/random/boot_id):
// another text after each start.
absl::StatusOr<std::string> BootId();

}  // namespace berth::base
