#include "lib/sandbox/pod_networks.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/cni/bandwidth.h"
#include "lib/netns/namespace.h"

namespace berth::sandbox {

namespace {

// CNI plugins that hang must not hold StopPodSandbox for ever; the kubelet asks again.
constexpr absl::Duration kDelBudget = absl::Seconds(60);
// Plugins do not stand being killed half-way: host-local may leave a lease that is nobody's (it
// makes the file before it writes whose it is), and a DEL cannot always be finished by the next one
// (the bridge plugin finds the addresses whose masquerading it ends on the link that it removes
// first). So a caller's end does not end them before this.
constexpr absl::Duration kLeast = absl::Seconds(10);

base::OpContext Patient(const base::OpContext& ctx, absl::Time deadline) {
  const absl::Time least = absl::Now() + kLeast;
  return base::OpContext(deadline,
                         [ctx, least] { return absl::Now() >= least && !ctx.Check().ok(); });
}

std::string_view ProtocolName(model::PortMapping::Protocol protocol) {
  switch (protocol) {
    case model::PortMapping::Protocol::kUdp:
      return "udp";
    case model::PortMapping::Protocol::kSctp:
      return "sctp";
    case model::PortMapping::Protocol::kTcp:
      break;
  }
  return "tcp";
}

absl::StatusOr<cni::PodNetwork> NetworkOf(const model::SandboxRecord& record,
                                          const std::string& netns_path) {
  const model::SandboxSpec& spec = record.spec;
  cni::PodNetwork network;
  network.id = record.id.value();
  network.name = spec.name;
  network.namespace_name = spec.ns;
  network.uid = spec.uid;
  network.netns_path = netns_path;
  network.annotations = spec.annotations;
  network.cgroup_path = spec.cgroup_parent;
  for (const model::PortMapping& port : spec.port_mappings) {
    network.port_mappings.push_back({std::string(ProtocolName(port.protocol)), port.container_port,
                                     port.host_port, port.host_ip});
  }
  if (!spec.dns.empty()) {
    network.dns = cni::DnsConfig{spec.dns.servers, spec.dns.searches, spec.dns.options};
  }
  ASSIGN_OR_RETURN(network.bandwidth, cni::BandwidthFromAnnotations(spec.annotations));
  return network;
}

}  // namespace

PodNetworks::PodNetworks(cni::NetworkConfigs& networks, const cni::CniInvoker& invoker)
    : PodNetworks(networks, invoker, Times()) {}

PodNetworks::PodNetworks(cni::NetworkConfigs& networks, const cni::CniInvoker& invoker, Times times)
    : networks_(networks), invoker_(invoker), times_(times) {}

PodNetworks::~PodNetworks() {
  stopping_ = true;
  {
    base::MutexLock lock(mu_);
    changed_.SignalAll();
  }
  if (collector_.joinable()) {
    collector_.join();
  }
}

void PodNetworks::Remember(const model::SandboxRecord& record) {
  if (record.cni_attachment.empty() || record.network_down) {
    return;
  }
  const auto attachment = cni::Attachment::FromJson(record.cni_attachment);
  if (attachment.ok()) {  // else Disconnect says so
    base::MutexLock lock(mu_);
    attached_.insert(attachment->Id());
  }
}

absl::Status PodNetworks::Plan(model::SandboxRecord& record, const std::string& netns_path) const {
  ASSIGN_OR_RETURN(const cni::PodNetwork network, NetworkOf(record, netns_path));
  // Also that its plugins are there: without them neither ADD nor the DEL that undoes it can run.
  RETURN_IF_ERROR(networks_.Ready());
  ASSIGN_OR_RETURN(const std::shared_ptr<const cni::NetworkConfig> config, networks_.Default());
  ASSIGN_OR_RETURN(const cni::Attachment planned, invoker_.Plan(*config, network));
  record.cni_attachment = planned.ToJson();
  return absl::OkStatus();
}

absl::Status PodNetworks::Enter(const base::OpContext& ctx) {
  base::MutexLock lock(mu_);
  while (collecting_) {
    RETURN_IF_ERROR(base::Annotate(ctx.Check(), "wait for the network's garbage collection"));
    changed_.WaitFor(mu_, base::OpContext::kPollInterval);
  }
  ++entered_;
  return absl::OkStatus();
}

void PodNetworks::Leave() {
  base::MutexLock lock(mu_);
  --entered_;
  changed_.SignalAll();
}

absl::Status PodNetworks::Connect(const base::OpContext& ctx, model::SandboxRecord& record) {
  if (record.cni_attachment.empty()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(cni::Attachment planned, cni::Attachment::FromJson(record.cni_attachment));
  RETURN_IF_ERROR(Enter(ctx));
  const absl::Cleanup leave = [this] { Leave(); };
  {
    base::MutexLock lock(mu_);
    attached_.insert(planned.Id());
  }
  const base::OpContext patient = Patient(ctx, std::max(ctx.deadline(), absl::Now() + kLeast));
  ASSIGN_OR_RETURN(const cni::Attachment attachment, invoker_.Add(patient, std::move(planned)));
  record.cni_attachment = attachment.ToJson();
  record.ips = attachment.ips;
  return ctx.Check();
}

absl::Status PodNetworks::Disconnect(const base::OpContext& ctx, model::SandboxRecord& record) {
  if (record.cni_attachment.empty() || record.network_down) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(cni::Attachment attachment, cni::Attachment::FromJson(record.cni_attachment));
  if (!netns::IsNamespace(attachment.netns_path)) {
    attachment.netns_path
        .clear();  // gone with a reboot or its pause: plugins release what they hold elsewhere
  }
  const base::OpContext patient = Patient(ctx, absl::Now() + kDelBudget);
  RETURN_IF_ERROR(Enter(patient));
  const absl::Cleanup leave = [this] { Leave(); };
  RETURN_IF_ERROR(invoker_.Del(patient, attachment));
  record.network_down = true;
  base::MutexLock lock(mu_);
  attached_.erase(attachment.Id());
  return absl::OkStatus();
}

void PodNetworks::StartCollection() {
  collector_ = std::thread([this] { Collect(); });
}

void PodNetworks::Collect() {
  const base::OpContext ctx(absl::Now() + times_.give_up, [this] { return stopping_.load(); });
  while (true) {
    const absl::Status status = TryCollect(ctx);
    if (status.ok() || stopping_) {
      return;
    }
    const absl::Time next = absl::Now() + times_.look_again;
    if (next >= ctx.deadline()) {
      base::Log("cni").warn(
          "what no pod has of the network is not collected, until the next start: {}",
          std::string(status.message()));
      return;
    }
    base::MutexLock lock(mu_);
    while (!stopping_ && absl::Now() < next) {
      changed_.WaitFor(mu_, next - absl::Now());
    }
  }
}

// OK: done, whatever the plugins said of it. Errors: not yet.
absl::Status PodNetworks::TryCollect(const base::OpContext& ctx) {
  RETURN_IF_ERROR(networks_.Ready());
  ASSIGN_OR_RETURN(const std::shared_ptr<const cni::NetworkConfig> network, networks_.Default());
  if (!cni::HasGc(*network)) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(invoker_.NetworkStatus(ctx.Within(times_.gc_budget), *network));
  std::set<cni::AttachmentId> valid;
  {
    base::MutexLock lock(mu_);
    while (entered_ > 0) {
      RETURN_IF_ERROR(base::Annotate(ctx.Check(), "wait until no plugin works for a pod"));
      changed_.WaitFor(mu_, base::OpContext::kPollInterval);
    }
    collecting_ = true;
    valid = attached_;
  }
  const absl::Status status =
      invoker_.CollectGarbage(ctx.Within(times_.gc_budget), *network, valid);
  {
    base::MutexLock lock(mu_);
    collecting_ = false;
    changed_.SignalAll();
  }
  if (!status.ok() && !stopping_) {
    base::Log("cni").warn("{}", std::string(status.message()));
  } else if (status.ok()) {
    base::Log("cni").info("what no pod has is collected network={} attachments={}", network->name,
                          valid.size());
  }
  return absl::OkStatus();
}

}  // namespace berth::sandbox
