#include "daemon/cri/render_stats.h"

#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace berth::cri {

namespace {

using Value = api::UInt64Value;

// Sets the field, which `mutable_field` makes, when there is a value.
template <typename Message>
void Set(Message& message, Value* (Message::*mutable_field)(), std::optional<uint64_t> value) {
  if (value) {
    (message.*mutable_field)()->set_value(*value);
  }
}

void RenderLine(const cgroup::Pressure::Line& line, api::PsiData& out) {
  out.set_total(line.total_us);
  out.set_avg10(line.avg10);
  out.set_avg60(line.avg60);
  out.set_avg300(line.avg300);
}

// Cpu, memory and io each have the field.
template <typename Message>
void RenderPressure(const std::optional<cgroup::Pressure>& pressure, Message& out) {
  if (pressure) {
    RenderLine(pressure->some, *out.mutable_psi()->mutable_some());
    RenderLine(pressure->full, *out.mutable_psi()->mutable_full());
  }
}

// Both messages, a container's and LinuxPodSandboxStats, have these.
template <typename Message>
void RenderReading(const stats::Reading& reading, Message& out) {
  const cgroup::Usage& usage = reading.usage;
  const int64_t taken = absl::ToUnixNanos(reading.taken);
  if (usage.cpu_ns || usage.cpu_pressure) {
    api::CpuUsage& cpu = *out.mutable_cpu();
    cpu.set_timestamp(taken);
    Set(cpu, &api::CpuUsage::mutable_usage_core_nano_seconds, usage.cpu_ns);
    Set(cpu, &api::CpuUsage::mutable_usage_nano_cores, reading.nano_cores);
    RenderPressure(usage.cpu_pressure, cpu);
  }
  if (usage.memory_bytes || usage.memory_pressure) {
    api::MemoryUsage& memory = *out.mutable_memory();
    memory.set_timestamp(taken);
    Set(memory, &api::MemoryUsage::mutable_working_set_bytes, usage.WorkingSetBytes());
    Set(memory, &api::MemoryUsage::mutable_available_bytes, usage.AvailableBytes());
    Set(memory, &api::MemoryUsage::mutable_usage_bytes, usage.memory_bytes);
    Set(memory, &api::MemoryUsage::mutable_rss_bytes, usage.rss_bytes);
    Set(memory, &api::MemoryUsage::mutable_page_faults, usage.page_faults);
    Set(memory, &api::MemoryUsage::mutable_major_page_faults, usage.major_page_faults);
    RenderPressure(usage.memory_pressure, memory);
  }
  if (usage.io_pressure) {
    out.mutable_io()->set_timestamp(taken);
    RenderPressure(usage.io_pressure, *out.mutable_io());
  }
}

void RenderAttributes(const model::ContainerRecord& record, api::ContainerAttributes& out) {
  out.set_id(record.id.value());
  out.mutable_metadata()->set_name(record.spec.name);
  out.mutable_metadata()->set_attempt(record.spec.attempt);
  out.mutable_labels()->insert(record.spec.labels.begin(), record.spec.labels.end());
  out.mutable_annotations()->insert(record.spec.annotations.begin(), record.spec.annotations.end());
}

void RenderAttributes(const model::SandboxRecord& record, api::PodSandboxAttributes& out) {
  const model::SandboxSpec& spec = record.spec;
  out.set_id(record.id.value());
  out.mutable_metadata()->set_name(spec.name);
  out.mutable_metadata()->set_uid(spec.uid);
  out.mutable_metadata()->set_namespace_(spec.ns);
  out.mutable_metadata()->set_attempt(spec.attempt);
  out.mutable_labels()->insert(spec.labels.begin(), spec.labels.end());
  out.mutable_annotations()->insert(spec.annotations.begin(), spec.annotations.end());
}

void RenderInterface(const netns::InterfaceCounters& counters, api::NetworkInterfaceUsage& out) {
  out.set_name(counters.name);
  out.mutable_rx_bytes()->set_value(counters.rx_bytes);
  out.mutable_rx_errors()->set_value(counters.rx_errors);
  out.mutable_tx_bytes()->set_value(counters.tx_bytes);
  out.mutable_tx_errors()->set_value(counters.tx_errors);
}

// "interfaces" are those beside the default one.
void RenderNetwork(const stats::Network& network, api::NetworkUsage& out) {
  out.set_timestamp(absl::ToUnixNanos(network.taken));
  bool is_default = true;
  for (const netns::InterfaceCounters& counters : network.interfaces) {
    RenderInterface(counters,
                    is_default ? *out.mutable_default_interface() : *out.add_interfaces());
    is_default = false;
  }
}

}  // namespace

api::ContainerStats RenderStats(const stats::ContainerStats& stats, const std::string& storage) {
  api::ContainerStats result;
  RenderAttributes(*stats.record, *result.mutable_attributes());
  if (stats.live) {
    RenderReading(*stats.live, result);
    const cgroup::Usage& usage = stats.live->usage;
    if (usage.swap_bytes) {
      api::SwapUsage& swap = *result.mutable_swap();
      swap.set_timestamp(absl::ToUnixNanos(stats.live->taken));
      Set(swap, &api::SwapUsage::mutable_swap_usage_bytes, usage.swap_bytes);
      Set(swap, &api::SwapUsage::mutable_swap_available_bytes, usage.SwapAvailableBytes());
    }
  }
  if (stats.disk) {
    api::FilesystemUsage& layer = *result.mutable_writable_layer();
    layer.set_timestamp(absl::ToUnixNanos(stats.disk->taken));
    layer.mutable_fs_id()->set_mountpoint(storage);
    layer.mutable_used_bytes()->set_value(stats.disk->usage.bytes);
    layer.mutable_inodes_used()->set_value(stats.disk->usage.inodes);
  }
  return result;
}

api::PodSandboxStats RenderStats(const stats::PodStats& stats, const std::string& storage) {
  api::PodSandboxStats result;
  RenderAttributes(*stats.record, *result.mutable_attributes());
  api::LinuxPodSandboxStats& pod = *result.mutable_linux();
  if (stats.live) {
    RenderReading(*stats.live, pod);
    if (stats.tasks) {
      pod.mutable_process()->set_timestamp(absl::ToUnixNanos(stats.live->taken));
      pod.mutable_process()->mutable_process_count()->set_value(*stats.tasks);
    }
  }
  if (stats.network) {
    RenderNetwork(*stats.network, *pod.mutable_network());
  }
  for (const stats::ContainerStats& container : stats.containers) {
    *pod.add_containers() = RenderStats(container, storage);
  }
  return result;
}

}  // namespace berth::cri
