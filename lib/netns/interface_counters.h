// Traffic of the network namespace that a process is in.
//
// Read from /proc/PID/net/dev, which shows the namespace of that process to whoever may look: no
// thread has to enter it.
//
// Threads: free functions without state; a few system calls. Source: proc_pid_net(5).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace berth::netns {

struct InterfaceCounters {
  std::string name;  // "eth0"
  uint64_t rx_bytes = 0, rx_errors = 0, tx_bytes = 0, tx_errors = 0;
  bool operator==(const InterfaceCounters&) const = default;
};

// Of all interfaces but `lo`, in the kernel's order. `start_time`: base::ProcessStartTime, so that
// another process that has the pid by now is not taken for it. kNotFound: the process is gone;
// kDataLoss: a file is not as the kernel writes it.
absl::StatusOr<std::vector<InterfaceCounters>> ReadInterfaceCounters(
    pid_t pid, uint64_t start_time, const std::string& proc_root = "/proc");

// The text of /proc/net/dev. kDataLoss.
absl::StatusOr<std::vector<InterfaceCounters>> ParseNetDev(std::string_view text);

}  // namespace berth::netns
