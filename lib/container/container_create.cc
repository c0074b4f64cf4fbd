// CreateContainer, from an image and a request to a container whose first process waits for
// StartContainer.
#include <fcntl.h>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/rollback.h"
#include "lib/base/status.h"
#include "lib/container/container.h"
#include "lib/container/container_edits.h"
#include "lib/container/container_service.h"
#include "lib/container/node_setup.h"
#include "lib/model/signals.h"
#include "lib/netns/namespace.h"
#include "lib/spec/container_spec.h"
#include "lib/spec/devices.h"
#include "lib/spec/edits.h"
#include "lib/spec/mount_sources.h"
#include "lib/spec/process.h"
#include "lib/spec/rootfs.h"
#include "lib/spec/user.h"

namespace berth::container {

namespace {

constexpr absl::Duration kUndoBudget = absl::Seconds(60);
constexpr int kDefaultStopSignal = 15;

// The request's stop signal, else the image's, else SIGTERM. An image that names no signal known
// here gets SIGTERM too: its text is not trusted, and refusing it would keep its pods from ever
// running.
int StopSignalOf(const model::ContainerSpec& spec, const oci::ImageConfig& image) {
  if (spec.stop_signal != 0) {
    return spec.stop_signal;
  }
  return model::ParseSignal(image.stop_signal).value_or(kDefaultStopSignal);
}

// The HOME among "K=V" strings is not known before the spec is built; the user's own, or the
// image's, is what passwd should say.
std::string PasswdHome(const model::ContainerSpec& spec, const oci::ImageConfig& image,
                       const model::ContainerUser& user) {
  std::string home = user.home.empty() ? "/" : user.home;
  for (const std::string& variable : image.env) {
    if (variable.rfind("HOME=", 0) == 0) {
      home = variable.substr(5);
    }
  }
  for (const model::EnvVar& variable : spec.envs) {
    if (variable.key == "HOME") {
      home = variable.value;
    }
  }
  return home;
}

spec::NamespacePaths PodNamespaces(const model::SandboxSpec& pod, const std::string& pins,
                                   std::string pid) {
  spec::NamespacePaths paths;
  if (pod.namespaces.network != model::NamespaceMode::kNode) {
    paths.net = netns::PinPath(pins, netns::NamespaceType::kNet);
    paths.uts = netns::PinPath(pins, netns::NamespaceType::kUts);
  }
  if (pod.namespaces.ipc != model::NamespaceMode::kNode) {
    paths.ipc = netns::PinPath(pins, netns::NamespaceType::kIpc);
  }
  paths.pid = std::move(pid);
  return paths;
}

// Where the kubelet asks for it. Containers of type spc_t may use files of any label, and the label
// of a volume that others use as well is better left alone for them.
absl::Status LabelVolumes(const base::OpContext& ctx, const std::vector<model::MountSpec>& mounts,
                          const security::SelinuxLabels& labels) {
  if (labels.mount.empty() || labels.process.find(":spc_t:") != std::string::npos) {
    return absl::OkStatus();
  }
  for (const model::MountSpec& mount : mounts) {
    if (mount.selinux_relabel && !mount.host_path.empty()) {
      RETURN_IF_ERROR(base::Annotate(security::Relabel(ctx, mount.host_path, labels.mount),
                                     fmt::format("mount on '{}'", mount.container_path)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<security::SelinuxLabels> ContainerService::LabelsOf(
    const model::ContainerSpec& spec, const model::SandboxRecord& sandbox) const {
  if (!node_.selinux->in_use() || spec.security.privileged) {
    return security::SelinuxLabels();
  }
  return security::LabelsFor(spec.security.selinux, sandbox.spec.selinux);
}

absl::StatusOr<std::string> ContainerService::PidNamespace(
    const model::ContainerSpec& spec, const model::SandboxRecord& sandbox) const {
  const model::NamespaceOptions& wanted = spec.security.namespaces;
  if (wanted.pid == model::NamespaceMode::kTarget) {
    ASSIGN_OR_RETURN(const Ptr target, index_.Find(wanted.target_id));
    const ContainerPtr record = target->record();
    if (record->sandbox_id != sandbox.id) {
      return absl::InvalidArgumentError(
          fmt::format("target container '{}' is in another pod", wanted.target_id));
    }
    if (record->state() != model::ContainerState::kRunning) {
      return absl::FailedPreconditionError(
          fmt::format("target container '{}' is not running", wanted.target_id));
    }
    return fmt::format("/proc/{}/ns/pid", record->pid);
  }
  if (wanted.pid == model::NamespaceMode::kPod &&
      sandbox.spec.namespaces.pid == model::NamespaceMode::kPod) {
    return netns::PinPath(deps_.paths.Namespaces(sandbox.id), netns::NamespaceType::kPid);
  }
  return std::string();
}

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

  RETURN_IF_ERROR(base::MakeDirs(deps_.paths.Bundle(record.id), 0700));
  RETURN_IF_ERROR(
      deps_.snapshotter.MountRootfs(ctx, {.layers = record.layers,
                                          .upper = deps_.paths.Upper(record.id),
                                          .work = deps_.paths.Work(record.id),
                                          .target = deps_.paths.Rootfs(record.id),
                                          .is_volatile = true,
                                          .option = security::ContextOption(labels.mount)}));
  RETURN_IF_ERROR(MountVolumes(ctx, deps_.snapshotter, deps_.paths, record.id, volumes,
                               security::ContextOption(labels.mount)));
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

absl::StatusOr<std::string> ContainerService::WriteBundle(const base::OpContext& ctx,
                                                          model::ContainerRecord& record,
                                                          const sandbox::SandboxPtr& sandbox,
                                                          const model::ImageRecord& image,
                                                          const security::SelinuxLabels& labels) {
  ASSIGN_OR_RETURN(const oci::ImageConfig config, oci::ParseImageConfig(image.config));
  ASSIGN_OR_RETURN(const runtime::Handler* handler, deps_.handlers.Get(record.runtime_handler));
  ASSIGN_OR_RETURN(const base::UniqueFd root,
                   base::OpenFile(deps_.paths.Rootfs(record.id), O_PATH | O_DIRECTORY));
  ASSIGN_OR_RETURN(record.user, spec::ResolveUser(root.get(), record.spec.security, config.user));
  record.stop_signal = StopSignalOf(record.spec, config);

  model::ContainerSpec prepared = record.spec;
  RETURN_IF_ERROR(spec::PrepareMountSources(prepared.mounts));
  RETURN_IF_ERROR(LabelVolumes(ctx, prepared.mounts, labels));
  RETURN_IF_ERROR(ResolveVolumes(deps_.paths, record.id, prepared.mounts));
  const auto policy_it = node_.handlers.find(handler->name);
  const HandlerPolicy policy =
      policy_it == node_.handlers.end() ? HandlerPolicy() : policy_it->second;
  const bool privileged = prepared.security.privileged;

  spec::SpecInputs inputs{
      .container = prepared, .sandbox = *sandbox, .image = config, .node = node_.facts};
  inputs.container_id = record.id.value();
  inputs.image_id = image.id;
  inputs.rootfs_path = deps_.paths.Rootfs(record.id);
  ASSIGN_OR_RETURN(
      inputs.cgroups_path,
      cgroup::SpecCgroupsPath(deps_.cgroups.driver(), record.cgroup_parent, record.id.value()));
  inputs.systemd_cgroup = deps_.cgroups.driver() == cgroup::Driver::kSystemd;
  ASSIGN_OR_RETURN(const std::vector<std::string> args, spec::AssembleArgs(prepared, config));
  ASSIGN_OR_RETURN(inputs.edits, EditsFor(node_, prepared, sandbox->spec, args.front()));
  ASSIGN_OR_RETURN(inputs.devices, spec::PrepareEdits(inputs.edits, record.user));
  inputs.user = record.user;
  ASSIGN_OR_RETURN(std::string pid_namespace, PidNamespace(prepared, *sandbox));
  inputs.namespaces =
      PodNamespaces(sandbox->spec, deps_.paths.Namespaces(sandbox->id), std::move(pid_namespace));
  const bool host_network = sandbox->spec.namespaces.network == model::NamespaceMode::kNode;
  const bool host_ipc = sandbox->spec.namespaces.ipc == model::NamespaceMode::kNode;
  inputs.pod_files.resolv_conf = deps_.paths.ResolvConf(sandbox->id);
  inputs.pod_files.hostname = deps_.paths.Hostname(sandbox->id);
  inputs.pod_files.hosts = host_network ? "/etc/hosts" : "";
  inputs.pod_files.shm = host_ipc ? "/dev/shm" : deps_.paths.Shm(sandbox->id);
  ASSIGN_OR_RETURN(const std::vector<spec::Device> devices, spec::ResolveDevices(prepared.devices));
  inputs.devices.insert(inputs.devices.end(), devices.begin(), devices.end());
  if (privileged) {
    ASSIGN_OR_RETURN(inputs.host_devices, spec::ListHostDevices("/dev"));
  }
  ASSIGN_OR_RETURN(const security::GrantedCapabilities capabilities,
                   security::GrantCapabilities(prepared.security, node_.default_capabilities,
                                               node_.bounding_capabilities));
  inputs.capabilities = security::CapabilityNames(capabilities.granted);
  inputs.ambient_capabilities = security::CapabilityNames(capabilities.ambient);
  ASSIGN_OR_RETURN(inputs.seccomp_json,
                   node_.seccomp->For(prepared.security.seccomp, privileged, capabilities.granted));
  ASSIGN_OR_RETURN(inputs.apparmor_profile,
                   node_.apparmor.For(prepared.security.apparmor, privileged));
  inputs.process_selinux_label = labels.process;
  inputs.mount_selinux_label = labels.mount;
  inputs.default_env = node_.default_env;
  inputs.default_ulimits = node_.default_ulimits;
  inputs.allowed_annotations = policy.allowed_annotations;
  inputs.privileged_without_host_devices = policy.privileged_without_host_devices;
  inputs.abilities = {handler->features.recursive_read_only, handler->features.idmap_mounts};
  inputs.min_memory_bytes = LimitsOf(*handler).min_memory_bytes;
  inputs.daemon_dirs = node_.daemon_dirs;

  ASSIGN_OR_RETURN(const std::optional<std::string> passwd,
                   spec::PasswdWithUser(root.get(), prepared, record.user,
                                        PasswdHome(prepared, config, record.user)));
  if (passwd) {
    RETURN_IF_ERROR(base::WriteFile(deps_.paths.BundlePasswd(record.id), *passwd, 0644));
    if (!labels.mount.empty()) {
      RETURN_IF_ERROR(security::Relabel(ctx, deps_.paths.BundlePasswd(record.id), labels.mount));
    }
    inputs.passwd_path = deps_.paths.BundlePasswd(record.id);
  }
  ASSIGN_OR_RETURN(const spec::SpecOutput output, spec::BuildContainerSpec(inputs));
  for (const std::string& warning : output.warnings) {
    base::Log("container").warn("{} container={}", warning, record.id.Short());
  }
  if (capabilities.clamped != 0) {
    base::Log("container")
        .warn("capabilities that the daemon does not have are left out container={} left_out={}",
              record.id.Short(), fmt::join(security::CapabilityNames(capabilities.clamped), ","));
  }
  RETURN_IF_ERROR(spec::PrepareRootfs(root.get(), output.rootfs_dirs));
  RETURN_IF_ERROR(base::WriteFile(deps_.paths.BundleConfig(record.id), output.config_json, 0600));
  RETURN_IF_ERROR(base::WriteFile(deps_.paths.BundleProcess(record.id), output.process_json, 0600));
  return args.front();
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
  spec.tty = record.spec.tty;
  spec.open_stdin = record.spec.stdin_open;
  spec.stdin_once = record.spec.stdin_once;
  // The monitor is the pod's: what it uses is charged to the pod, and whatever ends the processes
  // of the daemon's service leaves it alone.
  ASSIGN_OR_RETURN(const base::UniqueFd cgroup,
                   deps_.cgroups.Open(record.cgroup_parent, record.sandbox_id.value()));
  spec.cgroup_fd = cgroup.get();
  spec.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  return monitors_.Spawn(ctx, spec);
}

}  // namespace berth::container
