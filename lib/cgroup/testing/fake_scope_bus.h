// FakeScopeBus: a systemd that remembers what it was asked for. Not thread-safe.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lib/cgroup/scope_bus.h"

namespace berth::cgroup {

class FakeScopeBus : public ScopeBus {
 public:
  absl::Status Ping(const base::OpContext&) override { return ping; }
  absl::Status StartScope(const base::OpContext&, const std::string& unit, const std::string& slice,
                          pid_t pid, const std::string&) override {
    if (start.ok()) {
      running[unit] = {slice, pid};
    }
    return start;
  }
  absl::Status StopUnit(const base::OpContext&, const std::string& unit) override {
    running.erase(unit);
    stopped.push_back(unit);
    return absl::OkStatus();
  }

  absl::Status ping;   // what Ping answers
  absl::Status start;  // what StartScope answers
  std::map<std::string, std::pair<std::string, pid_t>> running;
  std::vector<std::string> stopped;
};

}  // namespace berth::cgroup
