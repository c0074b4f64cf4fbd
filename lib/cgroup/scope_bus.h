// ScopeBus: asks systemd for transient scopes. A seam: SystemdScopeBus speaks D-Bus, tests have a
// fake.
//
// Threads: thread-safe; each call uses a connection of its own, so calls run side by side. Blocking
// up to the context's end. Source: org.freedesktop.systemd1(5), "The New Control Group Interfaces"
// (systemd.io/CONTROL_GROUP_INTERFACE).
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"

#include "lib/base/op_context.h"

namespace berth::cgroup {

class ScopeBus {
 public:
  virtual ~ScopeBus() = default;

  // Whether systemd is pid 1 and answers. kUnavailable says why not.
  virtual absl::Status Ping(const base::OpContext& ctx) = 0;

  // Starts scope `unit` in `slice` with the process in it, delegated, and waits until systemd has
  // done so. A scope of that name that runs already: OK. kUnavailable: no bus; kInternal: systemd
  // refused, with its words.
  virtual absl::Status StartScope(const base::OpContext& ctx, const std::string& unit,
                                  const std::string& slice, pid_t pid,
                                  const std::string& description) = 0;

  // Stops it, waits, and forgets a failed state. Unknown unit: OK.
  virtual absl::Status StopUnit(const base::OpContext& ctx, const std::string& unit) = 0;
};

// The system's bus, or systemd's private socket where there is no bus daemon.
class SystemdScopeBus : public ScopeBus {
 public:
  absl::Status Ping(const base::OpContext& ctx) override;
  absl::Status StartScope(const base::OpContext& ctx, const std::string& unit,
                          const std::string& slice, pid_t pid,
                          const std::string& description) override;
  absl::Status StopUnit(const base::OpContext& ctx, const std::string& unit) override;
};

}  // namespace berth::cgroup
