// StatsService: what containers and pods use now: CPU, memory, swap and pressure from their
// cgroups, traffic from the pod's network namespace, disk from the writable layers.
//
// Everything is read when it is asked for, in the asker's thread: no process, no sweep in the
// background, no lock held while reading. Live numbers are those of running containers and ready
// pods; of others there are the disk's only. What the node does not tell is absent, and that is not
// an error: a container may end, and a controller be missing, at any moment.
//
// Threads: thread-safe. Blocks on the kernel and, within a small budget, on the disk (DiskUsage).
// Ownership: borrows paths. Source: CRI v1 ContainerStats, PodSandboxStats.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "lib/base/op_context.h"
#include "lib/cgroup/cgroup_path.h"
#include "lib/cgroup/usage.h"
#include "lib/model/container.h"
#include "lib/model/sandbox.h"
#include "lib/netns/interface_counters.h"
#include "lib/stats/cpu_rates.h"
#include "lib/stats/disk_usage.h"
#include "lib/store/paths.h"

namespace berth::stats {

using ContainerPtr = std::shared_ptr<const model::ContainerRecord>;
using SandboxPtr = std::shared_ptr<const model::SandboxRecord>;

// One reading of a cgroup.
struct Reading {
  absl::Time taken;
  cgroup::Usage usage;
  std::optional<uint64_t> nano_cores;  // since the reading before it: see CpuRates
};

struct ContainerStats {
  ContainerPtr record;
  std::optional<Reading> live;          // of a running container
  std::optional<DiskMeasurement> disk;  // its writable layer
};

struct Network {
  absl::Time taken;
  // The default one first: eth0, or the first there is.
  std::vector<netns::InterfaceCounters> interfaces;
};

struct PodStats {
  SandboxPtr record;
  // Of the cgroup that the pod was given as its parent, and which is the whole pod. A pod that was
  // given none: the sum of its pause and its running containers, without limits and pressure.
  std::optional<Reading> live;
  std::optional<uint64_t> tasks;   // threads count, as against pids.max
  std::optional<Network> network;  // absent with the host's network
  std::vector<ContainerStats> containers;
};

class StatsService {
 public:
  // What one call may spend on measuring writable layers for the first time.
  static constexpr absl::Duration kDiskBudget = absl::Milliseconds(10);

  StatsService(cgroup::Driver driver, const cgroup::Hierarchy& hierarchy, const store::Paths& paths,
               std::string proc_root = "/proc")
      : driver_(driver), reader_(hierarchy), paths_(paths), proc_root_(std::move(proc_root)) {}

  // In the order of `containers`.
  std::vector<ContainerStats> OfContainers(const base::OpContext& ctx,
                                           const std::vector<ContainerPtr>& containers);
  // In the order of `pods`; `containers` are those of all of them, and may hold others'.
  std::vector<PodStats> OfPods(const base::OpContext& ctx, const std::vector<SandboxPtr>& pods,
                               const std::vector<ContainerPtr>& containers);
  // What the writable layers of all of them take, as measured last: nobody waits for a walk. One
  // that nobody has measured yet counts nothing, and is measured for the next who asks.
  snapshot::Usage WritableLayers(const std::vector<ContainerPtr>& containers);

 private:
  ContainerStats OfContainer(const base::OpContext& disk_budget, const ContainerPtr& record);
  Reading Read(const std::string& cgroup, const std::string& id);
  void ReadPod(PodStats& pod);
  void SumPod(PodStats& pod);
  std::optional<Network> ReadNetwork(const model::SandboxRecord& record) const;

  const cgroup::Driver driver_;
  const cgroup::UsageReader reader_;
  const store::Paths& paths_;
  const std::string proc_root_;
  CpuRates rates_;
  DiskUsage disk_;
};

}  // namespace berth::stats
