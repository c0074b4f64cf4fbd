// What a start of the daemon finds: half-made containers, running ones with their monitors, and
// those that ended meanwhile.
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/process_runner.h"
#include "lib/base/status.h"
#include "lib/container/container.h"
#include "lib/container/container_service.h"

namespace berth::container {

namespace {

constexpr absl::Duration kUndoBudget = absl::Seconds(60);
// One container's monitor must not hold up the others.
constexpr absl::Duration kAdoptBudget = absl::Seconds(5);

}  // namespace

void ContainerService::Recover(std::vector<model::ContainerRecord> records) {
  for (model::ContainerRecord& record : records) {
    RecoverOne(std::move(record));
  }
}

void ContainerService::RecoverOne(model::ContainerRecord record) {
  if (record.state() == model::ContainerState::kCreating) {
    absl::Status status = TearDown(base::OpContext::WithTimeout(kUndoBudget), record);
    if (status.ok()) {
      status = deps_.records.Remove(record.id);
    }
    if (status.ok()) {
      base::Log("container").info("half-made container removed container={}", record.id.Short());
      return;
    }
    // Listed as exited, so that the kubelet removes it and TearDown runs again.
    base::Log("container")
        .warn(
            "half-made container is not wholly removed, listing it as exited container={} "
            "error=\"{}\"",
            record.id.Short(), status.ToString());
    record.created_ns = record.finished_ns = absl::ToUnixNanos(absl::Now());
    record.exit_code = 255;
    record.reason = kCreateError;
    record.message = "berthd ended while this container was created";
  }
  const std::string id = record.id.value();
  const std::string name = record.full_name;
  const bool finished = record.finished_ns != 0;
  auto container = std::make_shared<Container>(std::move(record));
  index_.Insert(id, name, container);
  if (!finished) {
    Adopt(container);
    if (const absl::Status undone = UndoUpdate(container); !undone.ok()) {
      base::Log("container")
          .warn("a change of resources that was cut off is not undone container={} error=\"{}\"",
                container->id().Short(), undone.ToString());
    }
  }
}

void ContainerService::Adopt(const Ptr& container) {
  const ContainerPtr record = container->record();
  if (record->started_ns == 0) {
    // Berthd may have died between the runtime's start and its own record of it. The runtime keeps
    // this fifo exactly as long as the container waits to be started.
    const absl::StatusOr<const runtime::Handler*> handler =
        deps_.handlers.Get(record->runtime_handler);
    if (handler.ok() &&
        !base::PathExists(fmt::format("{}/{}/exec.fifo", (*handler)->root, record->id.value())) &&
        base::PathExists(fmt::format("{}/{}", (*handler)->root, record->id.value()))) {
      container->Update(
          [](model::ContainerRecord& changed) { changed.started_ns = changed.created_ns; });
      persist_queue_.Add([this, container] { Persist(*container).IgnoreError(); });
    }
  }
  const absl::StatusOr<runtime::MonitorState> state =
      monitors_.Adopt(base::OpContext::WithTimeout(kAdoptBudget), record->id.value(),
                      deps_.paths.MonitorSocket(record->id));
  if (state.ok()) {
    return;
  }
  if (!absl::IsNotFound(state.status())) {
    base::Log("container")
        .warn("a container's monitor does not answer container={} error=\"{}\"", record->id.Short(),
              state.status().ToString());
  }
  const absl::StatusOr<runtime::ExitRecord> exit =
      runtime::ReadExitRecord(deps_.paths.ExitRecord(record->id));
  if (exit.ok()) {
    Finish(container, *exit, "");
  } else if (base::PathExists(deps_.paths.Bundle(record->id))) {
    WatchOrphan(container);
  } else {
    // <state> is gone: the machine was rebooted.
    runtime::ExitRecord lost;
    lost.code = 255;
    lost.exit_time = absl::Now();
    Finish(container, lost, "the node was restarted while this container ran");
  }
}

}  // namespace berth::container
