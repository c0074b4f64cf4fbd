#include "lib/sandbox/sandbox_service.h"

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/rollback.h"
#include "lib/base/status.h"
#include "lib/model/resources.h"
#include "lib/netns/namespace.h"
#include "lib/netns/sysctl.h"
#include "lib/sandbox/sandbox.h"
#include "lib/sandbox/sandbox_files.h"

namespace berth::sandbox {

namespace {

// What undoing a failed Run may take.
constexpr absl::Duration kUndoBudget = absl::Seconds(60);

std::string NodeHostname() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

// Keeps the first error of several steps that must all be tried.
void Keep(absl::Status& first, absl::Status next) {
  if (first.ok()) {
    first = std::move(next);
  }
}

}  // namespace

SandboxService::SandboxService(SandboxDeps deps, SandboxOptions options)
    : deps_(deps),
      options_(std::move(options)),
      index_("pod sandbox"),
      networks_(deps_.networks, deps_.invoker),
      user_namespaces_(deps_.paths, deps_.mounter, deps_.pauses, deps_.snapshotter) {}

SandboxService::~SandboxService() {
  for (const Ptr& sandbox : index_.All()) {
    if (base::UniqueFd pidfd = sandbox->TakePidfd()) {
      deps_.loop.Unwatch(pidfd.get());
    }
  }
}

absl::StatusOr<model::SandboxId> SandboxService::Run(const base::OpContext& ctx,
                                                     model::SandboxSpec spec) {
  const std::string name = spec.FullName();
  while (true) {
    ASSIGN_OR_RETURN(const Ptr existing, index_.Reserve(ctx, name));
    if (existing == nullptr) {
      break;
    }
    if (existing->record()->state != model::SandboxState::kCreating) {
      return existing->id();
    }
    RETURN_IF_ERROR(base::Annotate(Remove(ctx, existing->id().value()),
                                   fmt::format("run pod sandbox '{}': clear away what an earlier "
                                               "request left",
                                               name)));
  }
  if (const absl::Status status = ChooseLabel(spec); !status.ok()) {
    index_.Release(name);
    return base::Annotate(status, fmt::format("run pod sandbox '{}'", name));
  }
  model::SandboxRecord record;
  record.id = model::SandboxId::Generate();
  record.spec = std::move(spec);
  record.created_ns = absl::ToUnixNanos(absl::Now());
  record.hostname = EffectiveHostname(record.spec, record.id, NodeHostname());
  auto sandbox = std::make_shared<Sandbox>(std::move(record));
  const absl::Status status = Create(ctx, sandbox);
  if (!status.ok()) {
    if (!index_.Find(sandbox->id().value()).ok()) {
      deps_.selinux.FreeLevel(sandbox->record()->spec.selinux.level);
      index_.Release(name);
    }
    return base::Annotate(status, fmt::format("run pod sandbox '{}'", name));
  }
  deps_.events.Publish(events::EventType::kCreated, sandbox->id().value(), sandbox->id(), [&] {
    index_.Insert(sandbox->id().value(), name, sandbox);
    return true;
  });
  deps_.events.Publish(events::EventType::kStarted, sandbox->id().value(), sandbox->id());
  WatchPause(sandbox);
  return sandbox->id();
}

absl::Status SandboxService::Create(const base::OpContext& ctx, const Ptr& sandbox) {
  model::SandboxRecord record = *sandbox->record();
  const model::SandboxSpec& spec = record.spec;
  const std::string pins = deps_.paths.Namespaces(record.id);

  // All that can be refused is refused before the first side effect.
  RETURN_IF_ERROR(cgroup::ValidateParent(deps_.cgroups.driver(), spec.cgroup_parent));
  RETURN_IF_ERROR(ResolvConf(spec.dns).status());
  netns::PauseSpec pause_spec;
  pause_spec.pins_dir = pins;
  pause_spec.new_net = pause_spec.new_uts = OwnsNetwork(spec);
  pause_spec.new_ipc = OwnsIpc(spec);
  pause_spec.new_pid = SharesPid(spec);
  if (OwnsUsers(spec)) {
    RETURN_IF_ERROR(user_namespaces_.ForPods());
    pause_spec.user = {spec.namespaces.uids, spec.namespaces.gids};
  }
  pause_spec.hostname = pause_spec.new_uts ? record.hostname : "";
  pause_spec.sysctls = spec.sysctls;
  // Containers see the pause where they share its processes, and may look at their own kind only.
  if (deps_.selinux.in_use() && pause_spec.new_pid && !spec.privileged) {
    ASSIGN_OR_RETURN(const security::SelinuxLabels labels, security::LabelsFor(spec.selinux, {}));
    pause_spec.selinux_label = labels.process;
  }
  for (const auto& [key, value] : options_.default_sysctls) {
    const bool allowed =
        netns::PlanSysctls({{key, value}}, pause_spec.new_net, pause_spec.new_ipc).ok();
    if (allowed) {
      pause_spec.sysctls.emplace(key, value);
    }
  }
  RETURN_IF_ERROR(
      netns::PlanSysctls(pause_spec.sysctls, pause_spec.new_net, pause_spec.new_ipc).status());
  if (OwnsNetwork(spec)) {
    RETURN_IF_ERROR(networks_.Plan(record, netns::PinPath(pins, netns::NamespaceType::kNet)));
  }

  RETURN_IF_ERROR(deps_.records.Put(record));
  base::Rollback undo(fmt::format("run pod sandbox '{}'", record.id.value()));
  undo.Push("tear down", [&]() -> absl::Status {
    absl::Status status = TearDown(base::OpContext::WithTimeout(kUndoBudget), record);
    if (status.ok()) {
      return deps_.records.Remove(record.id);
    }
    record.state = model::SandboxState::kCreating;
    Keep(status, deps_.records.Put(record));
    sandbox->set_record(record);
    index_.Insert(sandbox->id().value(), sandbox->name(), sandbox);
    return status;
  });

  RETURN_IF_ERROR(WriteFiles(ctx, record));
  ASSIGN_OR_RETURN(const base::UniqueFd cgroup_fd,
                   deps_.cgroups.Prepare(ctx, spec.cgroup_parent, record.id.value()));
  pause_spec.cgroup_fd = cgroup_fd.get();
  ASSIGN_OR_RETURN(netns::Pause pause, deps_.pauses.Launch(ctx, pause_spec));
  record.pause_pid = pause.process.pid();
  record.pause_start = pause.start_time;
  RETURN_IF_ERROR(deps_.records.Put(record));
  RETURN_IF_ERROR(pause.Release());
  RETURN_IF_ERROR(MapLayers(record));

  RETURN_IF_ERROR(ConnectAndPlace(ctx, record));
  record.state = model::SandboxState::kReady;
  RETURN_IF_ERROR(deps_.records.Put(record));
  sandbox->set_record(record);
  undo.Commit();
  return absl::OkStatus();
}

// The pause is moved into its cgroup while the plugins run: on cgroup v1 that is a grace period of
// the kernel's, and neither needs the other.
absl::Status SandboxService::ConnectAndPlace(const base::OpContext& ctx,
                                             model::SandboxRecord& record) {
  absl::Status placed;
  std::thread place([&] {
    placed =
        deps_.cgroups.Place(ctx, record.spec.cgroup_parent, record.id.value(), record.pause_pid);
  });
  const absl::Status connected = networks_.Connect(ctx, record);
  place.join();
  RETURN_IF_ERROR(connected);
  return placed;
}

absl::Status SandboxService::TearDown(const base::OpContext& ctx, model::SandboxRecord& record) {
  absl::Status first = networks_.Disconnect(ctx, record);
  if (record.pause_pid != 0) {
    Keep(first, netns::StopPause(ctx, record.pause_pid, record.pause_start));
  }
  if (record.network_down || record.cni_attachment.empty()) {
    Keep(first, netns::UnpinAll(deps_.paths.Namespaces(record.id)));
  }
  Keep(first, deps_.cgroups.Destroy(ctx, record.spec.cgroup_parent, record.id.value()));
  Keep(first, deps_.mounter.Unmount(deps_.paths.Shm(record.id), /*detach=*/true));
  if (OwnsUsers(record.spec)) {
    Keep(first, deps_.mounter.Unmount(deps_.paths.LayersView(record.id), /*detach=*/true));
  }
  if (first.ok()) {
    first = base::RemoveTree(deps_.paths.SandboxState(record.id));
  }
  return first;
}

absl::Status SandboxService::Stop(const base::OpContext& ctx, const std::string& id) {
  absl::StatusOr<Ptr> found = index_.Find(id);
  if (absl::IsNotFound(found.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(found.status());
  Sandbox& sandbox = **found;
  base::MutexLock lock(sandbox.op_mu());
  if (sandbox.removed()) {
    return absl::OkStatus();
  }
  if (const base::UniqueFd pidfd = sandbox.TakePidfd()) {
    deps_.loop.Unwatch(pidfd.get());
  }
  const bool was_ready = sandbox.MarkNotReady();
  model::SandboxRecord record = *sandbox.record();
  const absl::Status torn_down = TearDown(ctx, record);
  deps_.events.Publish(events::EventType::kStopped, record.id.value(), record.id, [&] {
    sandbox.set_record(record);
    return was_ready;
  });
  RETURN_IF_ERROR(deps_.records.Put(record, store::Purpose::kGivesRoom));
  return base::Annotate(torn_down, fmt::format("stop pod sandbox '{}'", record.id.value()));
}

absl::Status SandboxService::Remove(const base::OpContext& ctx, const std::string& id) {
  absl::StatusOr<Ptr> found = index_.Find(id);
  if (absl::IsNotFound(found.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(found.status());
  RETURN_IF_ERROR(Stop(ctx, (*found)->id().value()));
  Sandbox& sandbox = **found;
  base::MutexLock lock(sandbox.op_mu());
  if (sandbox.removed()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(base::Annotate(deps_.records.Remove(sandbox.id()), "remove pod sandbox"));
  sandbox.set_removed();
  deps_.selinux.FreeLevel(sandbox.record()->spec.selinux.level);
  deps_.events.Publish(events::EventType::kDeleted, sandbox.id().value(), sandbox.id(), [&] {
    index_.Erase(sandbox.id().value(), sandbox.name());
    return true;
  });
  return absl::OkStatus();
}

absl::Status SandboxService::UpdateResources(const std::string& id,
                                             const model::Resources& overhead,
                                             const model::Resources& resources) {
  ASSIGN_OR_RETURN(const Ptr sandbox, index_.Find(id));
  const std::string what = fmt::format("update pod sandbox '{}'", sandbox->id().value());
  base::MutexLock lock(sandbox->op_mu());
  if (sandbox->removed()) {
    return absl::NotFoundError(fmt::format("{}: it was removed", what));
  }
  const auto merge = [&](model::SandboxRecord& record) {
    model::SandboxSpec& spec = record.spec;
    spec.overhead = model::MergeResources(spec.overhead.value_or(model::Resources()), overhead);
    spec.resources = model::MergeResources(spec.resources.value_or(model::Resources()), resources);
  };
  model::SandboxRecord stored = *sandbox->record();
  merge(stored);
  RETURN_IF_ERROR(base::Annotate(deps_.records.Put(stored), what));
  sandbox->Change(merge);
  return absl::OkStatus();
}

absl::StatusOr<SandboxPtr> SandboxService::Get(const std::string& id) const {
  ASSIGN_OR_RETURN(const Ptr sandbox, index_.Find(id));
  return sandbox->record();
}

std::vector<SandboxPtr> SandboxService::List() const {
  std::vector<SandboxPtr> list;
  for (const Ptr& sandbox : index_.All()) {
    list.push_back(sandbox->record());
  }
  std::sort(list.begin(), list.end(),
            [](const SandboxPtr& a, const SandboxPtr& b) { return a->created_ns > b->created_ns; });
  return list;
}

}  // namespace berth::sandbox
