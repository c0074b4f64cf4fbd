// TearDown: the end of a container, whatever of it exists.
#include <poll.h>

#include <csignal>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/container/container.h"
#include "lib/container/container_service.h"
#include "lib/netns/pause_launcher.h"

namespace berth::container {

namespace {

// A monitor ends by itself when its container has; it writes a record of some bytes.
constexpr absl::Duration kMonitorGrace = absl::Seconds(5);

// Waits for the end of a process that need not be a child.
absl::Status AwaitEnd(const base::OpContext& ctx, int pidfd) {
  while (true) {
    pollfd fd = {pidfd, POLLIN, 0};
    if (::poll(&fd, 1, ctx.PollMillis()) > 0) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(ctx.Check());
  }
}

// A runtime killed in its `create` may leave a mount in the bundle (runtime::WithScratch).
absl::Status UnmountScratch(mount::Mounter& mounter, const std::string& bundle) {
  const absl::StatusOr<std::vector<std::string>> names = base::ListDir(bundle);
  if (!names.ok()) {
    return absl::IsNotFound(names.status()) ? absl::OkStatus() : names.status();
  }
  for (const std::string& name : *names) {
    if (name.starts_with("crun.")) {
      RETURN_IF_ERROR(mounter.Unmount(bundle + "/" + name, /*detach=*/true));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ContainerService::TearDown(const base::OpContext& ctx,
                                        const model::ContainerRecord& record) {
  const std::string& id = record.id.value();
  const std::string bundle = deps_.paths.Bundle(record.id);
  ASSIGN_OR_RETURN(runtime::OciRuntime runtime, RuntimeOf(record));
  // After a reboot neither is there; the runtime may also have kept its state where the bundle is
  // lost.
  if (base::PathExists(bundle) || base::PathExists(runtime.handler().root + "/" + id)) {
    if (record.created_ns == 0) {
      // A crash may have cut off the request while the runtime worked; its monitor goes on and
      // tells how it ended.
      const absl::StatusOr<runtime::MonitorState> state =
          monitors_.Adopt(ctx, id, deps_.paths.MonitorSocket(record.id));
      if (!state.ok() && !absl::IsNotFound(state.status())) {
        base::Log("container")
            .debug("the half-made container was not created container={} error=\"{}\"",
                   record.id.Short(), state.status().ToString());
      }
    }
    monitors_.Forget(id);
    RETURN_IF_ERROR(runtime.Delete(ctx, id, /*force=*/true));
    RETURN_IF_ERROR(EndMonitor(ctx, record));
  }
  RETURN_IF_ERROR(deps_.cgroups.Destroy(ctx, record.cgroup_parent, id));
  RETURN_IF_ERROR(deps_.snapshotter.UnmountRootfs(deps_.paths.Rootfs(record.id)));
  RETURN_IF_ERROR(UnmountVolumes(deps_.snapshotter, deps_.paths, record));
  RETURN_IF_ERROR(UnmountScratch(deps_.mounter, bundle));
  RETURN_IF_ERROR(base::RemoveTree(bundle));
  return base::RemoveTree(deps_.paths.ContainerRoot(record.id));
}

// The bundle may be removed only when the monitor writes nothing there any more.
absl::Status ContainerService::EndMonitor(const base::OpContext& ctx,
                                          const model::ContainerRecord& record) {
  pid_t pid = record.monitor_pid;
  uint64_t start = record.monitor_start;
  if (pid == 0) {
    const absl::StatusOr<runtime::MonitorConnection> connection =
        runtime::MonitorConnection::Connect(ctx, deps_.paths.MonitorSocket(record.id));
    if (!connection.ok()) {
      return absl::OkStatus();
    }
    pid = connection->state().monitor.pid;
    start = connection->state().monitor.start_time;
  }
  const absl::StatusOr<base::UniqueFd> pidfd = netns::OpenProcess(pid, start);
  if (!pidfd.ok()) {
    return absl::IsNotFound(pidfd.status()) ? absl::OkStatus() : pidfd.status();
  }
  if (AwaitEnd(ctx.Within(kMonitorGrace), pidfd->get()).ok()) {
    return absl::OkStatus();
  }
  base::Log("container")
      .warn("a monitor outlives its container, killing it container={} monitor={}",
            record.id.Short(), pid);
  model::ContainerRecord monitor;
  monitor.pid = pid;
  monitor.pid_start = start;
  RETURN_IF_ERROR(Signal(monitor, SIGKILL));
  return base::Annotate(AwaitEnd(ctx.Within(kMonitorGrace), pidfd->get()),
                        fmt::format("end monitor {}", pid));
}

}  // namespace berth::container
