#include "lib/stats/stats_service.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"

#include "lib/base/log.h"

namespace berth::stats {

namespace {

constexpr char kDefaultInterface[] = "eth0";

// Rates must not jump when the machine's clock is set.
absl::Time MonotonicNow() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

void Add(std::optional<uint64_t>& sum, std::optional<uint64_t> part) {
  if (part) {
    sum = sum.value_or(0) + *part;
  }
}

void Add(cgroup::Usage& sum, const cgroup::Usage& part) {
  Add(sum.cpu_ns, part.cpu_ns);
  Add(sum.memory_bytes, part.memory_bytes);
  Add(sum.inactive_file_bytes, part.inactive_file_bytes);
  Add(sum.rss_bytes, part.rss_bytes);
  Add(sum.page_faults, part.page_faults);
  Add(sum.major_page_faults, part.major_page_faults);
}

}  // namespace

Reading StatsService::Read(const std::string& cgroup, const std::string& id) {
  Reading reading{.taken = absl::Now(), .usage = reader_.Read(cgroup)};
  if (reading.usage.cpu_ns) {
    reading.nano_cores = rates_.Update(id, *reading.usage.cpu_ns, MonotonicNow());
  }
  return reading;
}

ContainerStats StatsService::OfContainer(const base::OpContext& disk_budget,
                                         const ContainerPtr& record) {
  ContainerStats stats{.record = record};
  const std::string& id = record->id.value();
  if (record->state() == model::ContainerState::kRunning) {
    if (const auto cgroup = cgroup::CgroupOf(driver_, record->cgroup_parent, id); cgroup.ok()) {
      stats.live = Read(*cgroup, id);
    }
  }
  stats.disk = disk_.Get(disk_budget, id, paths_.Upper(record->id));
  return stats;
}

std::vector<ContainerStats> StatsService::OfContainers(
    const base::OpContext& ctx, const std::vector<ContainerPtr>& containers) {
  const base::OpContext disk_budget = ctx.Within(kDiskBudget);
  std::vector<ContainerStats> result;
  result.reserve(containers.size());
  for (const ContainerPtr& record : containers) {
    result.push_back(OfContainer(disk_budget, record));
  }
  return result;
}

snapshot::Usage StatsService::WritableLayers(const std::vector<ContainerPtr>& containers) {
  const base::OpContext no_time(absl::InfinitePast());
  snapshot::Usage sum;
  for (const ContainerPtr& record : containers) {
    if (const auto disk = disk_.Get(no_time, record->id.value(), paths_.Upper(record->id))) {
      sum.bytes += disk->usage.bytes;
      sum.inodes += disk->usage.inodes;
    }
  }
  return sum;
}

std::vector<PodStats> StatsService::OfPods(const base::OpContext& ctx,
                                           const std::vector<SandboxPtr>& pods,
                                           const std::vector<ContainerPtr>& containers) {
  const base::OpContext disk_budget = ctx.Within(kDiskBudget);
  std::map<std::string, PodStats*> by_id;
  std::vector<PodStats> result(pods.size());
  for (size_t i = 0; i < pods.size(); ++i) {
    result[i].record = pods[i];
    by_id[pods[i]->id.value()] = &result[i];
  }
  for (const ContainerPtr& container : containers) {
    if (const auto it = by_id.find(container->sandbox_id.value()); it != by_id.end()) {
      it->second->containers.push_back(OfContainer(disk_budget, container));
    }
  }
  for (PodStats& pod : result) {
    if (pod.record->state == model::SandboxState::kReady) {
      ReadPod(pod);
      pod.network = ReadNetwork(*pod.record);
    }
  }
  return result;
}

void StatsService::ReadPod(PodStats& pod) {
  if (pod.record->spec.cgroup_parent.empty()) {
    SumPod(pod);
    return;
  }
  const auto cgroup = cgroup::ParentCgroup(driver_, pod.record->spec.cgroup_parent);
  if (cgroup.ok()) {
    pod.live = Read(*cgroup, pod.record->id.value());
    pod.tasks = reader_.Tasks(*cgroup);
  }
}

void StatsService::SumPod(PodStats& pod) {
  const std::string& id = pod.record->id.value();
  Reading sum{.taken = absl::Now()};
  if (const auto own = cgroup::CgroupOf(driver_, "", id); own.ok()) {
    sum = Read(*own, id);
    sum.usage.memory_limit_bytes.reset();
    sum.usage.cpu_pressure.reset();
    sum.usage.memory_pressure.reset();
    sum.usage.io_pressure.reset();
    Add(pod.tasks, reader_.Tasks(*own));
  }
  for (const ContainerStats& container : pod.containers) {
    if (!container.live) {
      continue;
    }
    Add(sum.usage, container.live->usage);
    Add(sum.nano_cores, container.live->nano_cores);
    const auto cgroup =
        cgroup::CgroupOf(driver_, container.record->cgroup_parent, container.record->id.value());
    if (cgroup.ok()) {
      Add(pod.tasks, reader_.Tasks(*cgroup));
    }
  }
  pod.live = std::move(sum);
}

std::optional<Network> StatsService::ReadNetwork(const model::SandboxRecord& record) const {
  if (record.spec.namespaces.network == model::NamespaceMode::kNode || record.pause_pid == 0) {
    return std::nullopt;
  }
  Network network{.taken = absl::Now()};
  auto counters = netns::ReadInterfaceCounters(record.pause_pid, record.pause_start, proc_root_);
  if (!counters.ok()) {
    // The pause has just ended: the pod is not ready any more, as the next request will say.
    if (!absl::IsNotFound(counters.status())) {
      base::Log("stats").debug("no traffic counters sandbox={} error=\"{}\"", record.id.Short(),
                               counters.status().ToString());
    }
    return std::nullopt;
  }
  network.interfaces = *std::move(counters);
  const auto first = std::find_if(network.interfaces.begin(), network.interfaces.end(),
                                  [](const auto& item) { return item.name == kDefaultInterface; });
  if (first != network.interfaces.end()) {
    std::rotate(network.interfaces.begin(), first, first + 1);
  }
  return network;
}

}  // namespace berth::stats
