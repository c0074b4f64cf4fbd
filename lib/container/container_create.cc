// CreateContainer, from an image and a request to a container whose first process waits for
// StartContainer.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/rollback.h"
#include "lib/base/status.h"
#include "lib/container/container.h"
#include "lib/container/container_service.h"
#include "lib/container/node_setup.h"
#include "lib/model/id_map.h"
#include "lib/sandbox/sandbox_files.h"

namespace berth::container {

namespace {

constexpr absl::Duration kUndoBudget = absl::Seconds(60);
constexpr char kJournalSocket[] = "/run/systemd/journal/socket";

}  // namespace

absl::StatusOr<model::ContainerId> ContainerService::Create(const base::OpContext& caller,
                                                            const std::string& sandbox_id,
                                                            model::ContainerSpec spec) {
  ASSIGN_OR_RETURN(sandbox::SandboxPtr sandbox, deps_.sandboxes.Get(sandbox_id));
  const model::SandboxSpec& pod = sandbox->spec;
  model::ContainerRecord record;
  record.id = model::ContainerId::Generate();
  record.sandbox_id = sandbox->id;
  record.full_name =
      fmt::format("k8s_{}_{}_{}_{}_{}", spec.name, pod.name, pod.ns, pod.uid, spec.attempt);
  record.spec = std::move(spec);
  const std::string what = fmt::format("create container '{}'", record.full_name);

  auto begun = creations_.Begin(sandbox->id);
  RETURN_IF_ERROR(base::Annotate(begun.status(), what));
  const std::shared_ptr<Creations::Making> making = *std::move(begun);
  // The pod's end is this request's too.
  const base::OpContext ctx(caller.deadline(), [caller, making] {
    return making->cancelled() || absl::IsCancelled(caller.Check());
  });
  // Only now: a pod that ended before Begin says so.
  ASSIGN_OR_RETURN(sandbox, deps_.sandboxes.Get(sandbox->id.value()));
  const absl::StatusOr<model::ContainerId> id =
      CreateNamed(ctx, std::make_shared<Container>(std::move(record)), sandbox);
  if (absl::IsCancelled(id.status()) && caller.Check().ok()) {
    return absl::FailedPreconditionError(
        fmt::format("{}: pod sandbox '{}' was stopped meanwhile", what, sandbox->id.value()));
  }
  RETURN_IF_ERROR(base::Annotate(id.status(), what));
  return id;
}

absl::StatusOr<model::ContainerId> ContainerService::CreateNamed(
    const base::OpContext& ctx, const Ptr& container, const sandbox::SandboxPtr& sandbox) {
  while (true) {
    ASSIGN_OR_RETURN(const Ptr existing, index_.Reserve(ctx, container->name()));
    if (existing == nullptr) {
      break;
    }
    if (existing->record()->reason != kCreateError) {
      return existing->id();
    }
    RETURN_IF_ERROR(base::Annotate(Remove(ctx, existing->id().value()),
                                   "clear away what an earlier request left"));
  }
  absl::Status status;
  if (sandbox->state != model::SandboxState::kReady) {
    status = absl::FailedPreconditionError(
        fmt::format("pod sandbox '{}' is not ready", sandbox->id.value()));
  }
  const std::string& id = container->id().value();
  // The leases hold the layers until the index knows the container, whose record names them.
  absl::StatusOr<image::ImageLease> lease;
  if (status.ok()) {
    lease = deps_.images.Use(container->record()->spec.image);
    status = lease.status();
  }
  if (status.ok() && lease->image().is_artifact) {
    status = absl::InvalidArgumentError(
        fmt::format("'{}' is an OCI artifact, which has no root file system to run in; mount it as "
                    "an image volume (Mount.image)",
                    container->record()->spec.image));
  }
  absl::StatusOr<VolumeLeases> volumes;
  if (status.ok()) {
    volumes = LeaseVolumes(deps_.images, container->record()->spec.mounts);
    status = volumes.status();
  }
  if (status.ok()) {
    status = Build(ctx, container, sandbox, lease->image(), *volumes);
  }
  if (status.ok()) {
    deps_.events.Publish(events::EventType::kCreated, id, sandbox->id, [&] {
      index_.Insert(id, container->name(), container);
      return true;
    });
  } else if (!index_.Find(id).ok()) {
    index_.Release(container->name());
  }
  bool gone = false;
  {
    base::MutexLock lock(early_mu_);
    gone = early_gone_.erase(id) > 0;
  }
  RETURN_IF_ERROR(status);
  if (gone) {
    HandleMonitorGone(container);
  }
  return container->id();
}

absl::Status ContainerService::Build(const base::OpContext& ctx, const Ptr& container,
                                     const sandbox::SandboxPtr& sandbox,
                                     const model::ImageRecord& image, const VolumeLeases& volumes) {
  model::ContainerRecord record = *container->record();
  ASSIGN_OR_RETURN(const runtime::Handler* handler,
                   deps_.handlers.Get(sandbox->spec.runtime_handler));
  record.runtime_handler = handler->name;
  record.image_id = image.id;
  record.layers = image.layers;
  record.volume_layers = LayersOf(volumes);
  record.cgroup_parent = sandbox->spec.cgroup_parent;
  ASSIGN_OR_RETURN(record.log_path,
                   store::LogPath(sandbox->spec.log_directory, record.spec.log_path));
  ASSIGN_OR_RETURN(const security::SelinuxLabels labels, LabelsOf(record.spec, *sandbox));
  // Asked for again when it is used; here, so that a profile that is not there is refused first.
  RETURN_IF_ERROR(
      node_.apparmor.For(record.spec.security.apparmor, record.spec.security.privileged).status());

  RETURN_IF_ERROR(deps_.records.Put(record));
  base::Rollback undo(fmt::format("create container '{}'", record.id.value()));
  undo.Push("tear down", [&]() -> absl::Status {
    absl::Status undone = TearDown(base::OpContext::WithTimeout(kUndoBudget), record);
    if (undone.ok()) {
      return deps_.records.Remove(record.id);
    }
    record.created_ns = record.finished_ns = absl::ToUnixNanos(absl::Now());
    record.exit_code = 255;
    record.reason = kCreateError;
    record.message = std::string(undone.message());
    container->Update([&](model::ContainerRecord& changed) { changed = record; });
    index_.Insert(record.id.value(), record.full_name, container);
    return undone;
  });

  RETURN_IF_ERROR(MakeBundle(record.id, sandbox->spec));
  const std::string view =
      sandbox::OwnsUsers(sandbox->spec) ? deps_.paths.LayersView(sandbox->id) : "";
  RETURN_IF_ERROR(
      deps_.snapshotter.MountRootfs(ctx, {.layers = record.layers,
                                          .layers_view = view,
                                          .upper = deps_.paths.Upper(record.id),
                                          .work = deps_.paths.Work(record.id),
                                          .target = deps_.paths.Rootfs(record.id),
                                          .is_volatile = true,
                                          .option = security::ContextOption(labels.mount)}));
  RETURN_IF_ERROR(MountVolumes(ctx, deps_.snapshotter, deps_.paths, record.id, volumes,
                               {view, security::ContextOption(labels.mount)}));
  ASSIGN_OR_RETURN(const std::string command, WriteBundle(ctx, record, sandbox, image, labels));
  const absl::StatusOr<runtime::MonitorState> spawned = SpawnMonitor(ctx, record);
  // Not every runtime says what it could not run.
  RETURN_IF_ERROR(base::Annotate(spawned.status(), fmt::format("with command '{}'", command)));
  const runtime::MonitorState& state = *spawned;
  record.pid = state.container.pid;
  record.pid_start = state.container.start_time;
  record.monitor_pid = state.monitor.pid;
  record.monitor_start = state.monitor.start_time;
  record.created_ns = absl::ToUnixNanos(absl::Now());
  RETURN_IF_ERROR(deps_.records.Put(record));
  container->Update([&](model::ContainerRecord& changed) { changed = record; });
  undo.Commit();
  return absl::OkStatus();
}

// The OCI runtime makes the root file system its own after it has become the pod's root, who is
// nobody on the node: he must be able to go down to it, and may do nothing else there.
absl::Status ContainerService::MakeBundle(const model::ContainerId& id,
                                          const model::SandboxSpec& pod) const {
  const std::string bundle = deps_.paths.Bundle(id);
  RETURN_IF_ERROR(base::MakeDirs(bundle, 0700));
  if (!sandbox::OwnsUsers(pod)) {
    return absl::OkStatus();
  }
  const gid_t group = model::IdOutside(pod.namespaces.gids, 0).value_or(0);
  if (::chown(bundle.c_str(), 0, group) != 0 || ::chmod(bundle.c_str(), 0710) != 0) {
    return base::ErrnoStatus(errno, fmt::format("let the pod's root into '{}'", bundle));
  }
  for (const std::string& dir : {deps_.paths.ContainersState(), deps_.paths.state()}) {
    struct stat st;
    if (::stat(dir.c_str(), &st) != 0 ||
        ((st.st_mode & S_IXOTH) == 0 &&
         ::chmod(dir.c_str(), (st.st_mode & 07777) | S_IXOTH) != 0)) {
      return base::ErrnoStatus(errno, fmt::format("let the pod's root into '{}'", dir));
    }
  }
  const std::string& state = deps_.paths.state();
  for (size_t end = state.rfind('/'); end != 0; end = state.rfind('/', end - 1)) {
    const std::string dir = state.substr(0, end);
    struct stat st;
    if (::stat(dir.c_str(), &st) == 0 && (st.st_mode & S_IXOTH) == 0) {
      return absl::FailedPreconditionError(
          fmt::format("the pod's root, an ordinary user of the node, cannot reach '{}': '{}' has "
                      "mode {:o}; let others search it (chmod o+x)",
                      state, dir, st.st_mode & 07777));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<runtime::MonitorState> ContainerService::SpawnMonitor(
    const base::OpContext& ctx, const model::ContainerRecord& record) {
  ASSIGN_OR_RETURN(const runtime::Handler* handler, deps_.handlers.Get(record.runtime_handler));
  if (!record.log_path.empty()) {
    RETURN_IF_ERROR(base::MakeDirs(record.log_path.substr(0, record.log_path.rfind('/')), 0755));
  }
  runtime::MonitorSpec spec;
  spec.id = record.id.value();
  spec.bundle = deps_.paths.Bundle(record.id);
  spec.runtime = handler->Command(deps_.cgroups.driver() == cgroup::Driver::kSystemd);
  spec.socket_path = deps_.paths.MonitorSocket(record.id);
  spec.exit_path = deps_.paths.ExitRecord(record.id);
  spec.log_path = record.log_path;
  spec.log_max_bytes = node_.log_max_bytes;
  if (node_.log_to_journald) {
    spec.journal_path = kJournalSocket;
    spec.name = record.full_name;
  }
  spec.tty = record.spec.tty;
  spec.open_stdin = record.spec.stdin_open;
  spec.stdin_once = record.spec.stdin_once;
  spec.stdio_owner = RootOf(record);
  // The monitor is the pod's: what it uses is charged to the pod, and whatever ends the processes
  // of the daemon's service leaves it alone.
  ASSIGN_OR_RETURN(const base::UniqueFd cgroup,
                   deps_.cgroups.Open(record.cgroup_parent, record.sandbox_id.value()));
  spec.cgroup_fd = cgroup.get();
  spec.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  absl::StatusOr<runtime::MonitorState> state = monitors_.Spawn(ctx, spec);
  if (state.ok() && !cgroup) {
    PlaceMonitor(record, state->monitor);
  }
  return state;
}

// On cgroup v1 a process is moved, for which the kernel waits some 10 ms: later, beside what the
// caller does next.
void ContainerService::PlaceMonitor(const model::ContainerRecord& record,
                                    const runtime::ProcessIdentity& monitor) {
  place_queue_.Add([this, monitor, id = record.id, parent = record.cgroup_parent,
                    pod = record.sandbox_id.value()] {
    if (base::ProcessStartTime(monitor.pid).value_or(0) != monitor.start_time) {
      return;
    }
    const absl::Status joined = deps_.cgroups.Join(parent, pod, monitor.pid);
    if (!joined.ok() && !absl::IsNotFound(joined)) {  // not found: one of them has ended
      base::Log("container")
          .warn("a monitor stays in the daemon's cgroup container={} error=\"{}\"", id.Short(),
                joined.ToString());
    }
  });
}

}  // namespace berth::container
