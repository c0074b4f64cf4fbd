#include "lib/container/container_service.h"

#include <algorithm>
#include <csignal>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/container/container.h"
#include "lib/container/node_setup.h"
#include "lib/sandbox/sandbox_files.h"
#include "lib/spec/process.h"

namespace berth::container {

namespace {

// Between two SIGKILLs of a container that does not end: one is enough unless the kernel is stuck.
constexpr absl::Duration kKillAgain = absl::Seconds(2);
// What the runtime may still take for a start when the container has ended: one that ended because
// it was started, and at once, is no failure.
constexpr absl::Duration kStartAfterEnd = absl::Seconds(2);
// How long a container whose start failed may take to be gone.
constexpr absl::Duration kStartUndo = absl::Seconds(10);

void NewestFirst(std::vector<ContainerPtr>& list) {
  std::sort(list.begin(), list.end(), [](const ContainerPtr& a, const ContainerPtr& b) {
    return a->created_ns > b->created_ns;
  });
}

}  // namespace

ContainerService::ContainerService(ContainerDeps deps, std::string monitor_path, NodeSetup& node)
    : deps_(deps),
      monitor_path_(monitor_path),
      node_(node),
      index_("container"),
      monitors_(deps.loop, deps.runner, std::move(monitor_path),
                [this](const std::string& id) { OnMonitorGone(id); }) {}

ContainerService::~ContainerService() {
  for (const Ptr& container : index_.All()) {
    monitors_.Forget(container->id().value());
    if (base::UniqueFd pidfd = container->TakeOrphan()) {
      deps_.loop.Unwatch(pidfd.get());
    }
  }
  persist_queue_.Stop();
}

// Who the container's root is on the node.
base::Owner ContainerService::RootOf(const model::ContainerRecord& record) const {
  const absl::StatusOr<sandbox::SandboxPtr> sandbox =
      deps_.sandboxes.Get(record.sandbox_id.value());
  return sandbox.ok() ? sandbox::RootOf((*sandbox)->spec) : base::Owner();
}

absl::StatusOr<runtime::OciRuntime> ContainerService::RuntimeOf(
    const model::ContainerRecord& record) const {
  ASSIGN_OR_RETURN(const runtime::Handler* handler, deps_.handlers.Get(record.runtime_handler));
  return runtime::OciRuntime(deps_.runner, *handler,
                             {.systemd_cgroup = deps_.cgroups.driver() == cgroup::Driver::kSystemd,
                              .monitor_path = monitor_path_,
                              .scratch_dir = deps_.paths.Temporary(),
                              .env = {},
                              .stdio_owner = RootOf(record)});
}

spec::ResourceLimits ContainerService::LimitsOf(const runtime::Handler& handler) {
  const std::string program = handler.path.substr(handler.path.rfind('/') + 1);
  return {.min_memory_bytes = cgroup::MemoryLimitMinimum(program)};
}

std::set<int64_t> ContainerService::LayersInUse() const {
  std::set<int64_t> layers;
  for (const Ptr& container : index_.All()) {
    const ContainerPtr record = container->record();
    layers.insert(record->layers.begin(), record->layers.end());
    layers.insert(record->volume_layers.begin(), record->volume_layers.end());
  }
  return layers;
}

absl::Status ContainerService::Start(const base::OpContext& ctx, const std::string& id) {
  ASSIGN_OR_RETURN(const Ptr container, index_.Find(id));
  base::MutexLock lock(container->op_mu());
  const ContainerPtr record = container->record();
  const std::string what = fmt::format("start container '{}'", record->id.value());
  if (record->state() != model::ContainerState::kCreated) {
    return absl::FailedPreconditionError(
        fmt::format("{}: it is {}", what, StateName(record->state())));
  }
  ASSIGN_OR_RETURN(runtime::OciRuntime runtime, RuntimeOf(*record));
  container->BeginStart();
  // Crun waits for ever at a fifo whose reader, the container's first process, ends just before.
  const base::OpContext until_end(ctx.deadline(),
                                  [&ctx, &container, end = absl::InfiniteFuture()]() mutable {
                                    if (end == absl::InfiniteFuture() && container->exited()) {
                                      end = absl::Now() + kStartAfterEnd;
                                    }
                                    return absl::Now() >= end || absl::IsCancelled(ctx.Check());
                                  });
  absl::Status started = runtime.Start(until_end, record->id.value());
  if (absl::IsCancelled(started) && ctx.Check().ok()) {
    started = absl::FailedPreconditionError(
        "it ended before it was started, and its runtime did not notice");
  }
  if (!started.ok()) {
    // What the runtime left is ended; the record keeps why.
    const absl::Status killed = KillAndWait(base::OpContext::WithTimeout(kStartUndo), container);
    deps_.events.Publish(events::EventType::kStopped, record->id.value(), record->sandbox_id, [&] {
      container->Update([&](model::ContainerRecord& changed) {
        changed.reason = "StartError";
        changed.message = std::string(started.message());
        changed.exit_code = 128;
        changed.started_ns = changed.created_ns;
        changed.finished_ns = absl::ToUnixNanos(absl::Now());
      });
      return container->EndStart();
    });
    absl::Status stored = Persist(*container);
    if (!killed.ok() || !stored.ok()) {
      base::Log("container")
          .warn(
              "a container that did not start is not wholly undone container={} kill=\"{}\" "
              "store=\"{}\"",
              record->id.Short(), killed.ToString(), stored.ToString());
    }
    return base::Annotate(started, what);
  }
  deps_.events.Publish(events::EventType::kStarted, record->id.value(), record->sandbox_id, [&] {
    container->Update([](model::ContainerRecord& changed) {
      const int64_t now = absl::ToUnixNanos(absl::Now());
      // It may have run and ended before the runtime's own call did.
      changed.started_ns = changed.finished_ns != 0 ? std::min(now, changed.finished_ns) : now;
    });
    return true;
  });
  deps_.events.Publish(events::EventType::kStopped, record->id.value(), record->sandbox_id,
                       [&] { return container->EndStart(); });
  return base::Annotate(Persist(*container), what);
}

absl::Status ContainerService::Stop(const base::OpContext& ctx, const std::string& id,
                                    absl::Duration timeout) {
  absl::StatusOr<Ptr> found = index_.Find(id);
  if (absl::IsNotFound(found.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(found.status());
  const Ptr container = *std::move(found);
  const ContainerPtr record = container->record();
  const std::string what = fmt::format("stop container '{}'", record->id.value());
  // One that was not started has nobody to hear a signal.
  const bool at_once =
      timeout <= absl::ZeroDuration() || record->state() == model::ContainerState::kCreated;
  const bool first = container->RequestStop(at_once ? absl::InfinitePast() : absl::Now() + timeout);
  if (first && !at_once && !container->exited()) {
    RETURN_IF_ERROR(base::Annotate(Signal(*record, record->stop_signal), what));
  }
  // Nobody may be waiting any more when the grace period ends.
  const base::EventLoop::TimerId kill = at_once ? 0 : KillAfter(container, timeout);
  absl::Time again = absl::InfinitePast();
  while (true) {
    switch (container->AwaitExit(ctx, again)) {
      case Container::Woken::kExited:
        deps_.loop.Cancel(kill);
        return base::Annotate(KillLeftovers(ctx, *record), what);
      case Container::Woken::kCallerGone:
        return base::Annotate(ctx.Check(), what);
      case Container::Woken::kStopDeadline:
        RETURN_IF_ERROR(base::Annotate(Signal(*record, SIGKILL), what));
        again = absl::Now() + kKillAgain;
        break;
    }
  }
}

absl::Status ContainerService::Remove(const base::OpContext& ctx, const std::string& id) {
  absl::StatusOr<Ptr> found = index_.Find(id);
  if (absl::IsNotFound(found.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(found.status());
  const Ptr container = *std::move(found);
  const std::string what = fmt::format("remove container '{}'", container->id().value());
  base::MutexLock lock(container->op_mu());
  {
    base::MutexLock persist(container->persist_mu());
    if (container->removed()) {
      return absl::OkStatus();
    }
  }
  RETURN_IF_ERROR(base::Annotate(KillAndWait(ctx, container), what));
  RETURN_IF_ERROR(base::Annotate(TearDown(ctx, *container->record()), what));
  {
    base::MutexLock persist(container->persist_mu());
    RETURN_IF_ERROR(base::Annotate(deps_.records.Remove(container->id()), what));
    container->set_removed();
  }
  deps_.events.Publish(events::EventType::kDeleted, container->id().value(),
                       container->record()->sandbox_id, [&] {
                         index_.Erase(container->id().value(), container->name());
                         return true;
                       });
  deps_.images.CollectGarbage();
  return absl::OkStatus();
}

absl::StatusOr<ContainerPtr> ContainerService::GetRunning(const std::string& id,
                                                          std::string_view what) const {
  ASSIGN_OR_RETURN(ContainerPtr record, Get(id));
  if (record->state() != model::ContainerState::kRunning) {
    return absl::FailedPreconditionError(fmt::format(
        "{} container '{}': it is {}", what, record->id.value(), StateName(record->state())));
  }
  return record;
}

absl::StatusOr<ContainerPtr> ContainerService::Get(const std::string& id) const {
  ASSIGN_OR_RETURN(const Ptr container, index_.Find(id));
  return container->record();
}

std::vector<ContainerPtr> ContainerService::List() const {
  std::vector<ContainerPtr> list;
  for (const Ptr& container : index_.All()) {
    list.push_back(container->record());
  }
  NewestFirst(list);
  return list;
}

std::vector<ContainerPtr> ContainerService::ListOf(const model::SandboxId& sandbox_id) const {
  std::vector<ContainerPtr> list;
  for (const Ptr& container : index_.All()) {
    ContainerPtr record = container->record();
    if (record->sandbox_id == sandbox_id) {
      list.push_back(std::move(record));
    }
  }
  NewestFirst(list);
  return list;
}

std::vector<ContainerService::Ptr> ContainerService::OfSandbox(const model::SandboxId& id) const {
  std::vector<Ptr> list = index_.All();
  std::erase_if(list, [&](const Ptr& container) { return container->record()->sandbox_id != id; });
  return list;
}

}  // namespace berth::container
