// A container's bundle: everything that config.json says, and the files beside it.
#include <fcntl.h>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/container/container.h"
#include "lib/container/container_edits.h"
#include "lib/container/container_service.h"
#include "lib/container/mapped_volumes.h"
#include "lib/container/node_setup.h"
#include "lib/model/signals.h"
#include "lib/netns/namespace.h"
#include "lib/sandbox/sandbox_files.h"
#include "lib/spec/container_spec.h"
#include "lib/spec/devices.h"
#include "lib/spec/edits.h"
#include "lib/spec/mount_sources.h"
#include "lib/spec/process.h"
#include "lib/spec/rootfs.h"
#include "lib/spec/user.h"

namespace berth::container {

namespace {

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
  if (sandbox::OwnsUsers(pod)) {
    paths.user = netns::PinPath(pins, netns::NamespaceType::kUser);
  }
  paths.pid = std::move(pid);
  return paths;
}

// Where the kubelet asks for it. Containers of type spc_t, and privileged ones, may use files of
// any label, and the label of a volume that others use as well is better left alone for them.
absl::Status LabelVolumes(const base::OpContext& ctx, const std::vector<model::MountSpec>& mounts,
                          const security::SelinuxLabels& labels) {
  if (labels.process.empty() || labels.process.find(":spc_t:") != std::string::npos) {
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

spec::PodFiles PodFilesOf(const store::Paths& paths, const model::SandboxRecord& sandbox) {
  const model::NamespaceOptions& namespaces = sandbox.spec.namespaces;
  spec::PodFiles files;
  files.resolv_conf = paths.ResolvConf(sandbox.id);
  files.hostname = paths.Hostname(sandbox.id);
  files.containerenv = paths.Containerenv(sandbox.id);
  files.hosts = namespaces.network == model::NamespaceMode::kNode ? "/etc/hosts" : "";
  files.shm = namespaces.ipc == model::NamespaceMode::kNode ? "/dev/shm" : paths.Shm(sandbox.id);
  return files;
}

// What the container may do: capabilities and the profiles of the security modules.
absl::Status Confine(const NodeSetup& node, const model::ContainerSecurity& security,
                     const security::SelinuxLabels& labels, spec::SpecInputs& inputs) {
  ASSIGN_OR_RETURN(
      const security::GrantedCapabilities capabilities,
      security::GrantCapabilities(security, node.default_capabilities, node.bounding_capabilities));
  if (capabilities.clamped != 0) {
    base::Log("container")
        .warn("capabilities that the daemon does not have are left out container={} left_out={}",
              inputs.container_id.substr(0, 12),
              fmt::join(security::CapabilityNames(capabilities.clamped), ","));
  }
  inputs.capabilities = security::CapabilityNames(capabilities.granted);
  inputs.ambient_capabilities = security::CapabilityNames(capabilities.ambient);
  ASSIGN_OR_RETURN(inputs.seccomp_json,
                   node.seccomp->For(security.seccomp, security.privileged, capabilities.granted));
  ASSIGN_OR_RETURN(inputs.apparmor_profile,
                   node.apparmor.For(security.apparmor, security.privileged));
  inputs.process_selinux_label = labels.process;
  inputs.mount_selinux_label = labels.mount;
  return absl::OkStatus();
}

// What this node and this handler give every container.
void AddDefaults(const NodeSetup& node, const runtime::Handler& handler, spec::SpecInputs& inputs) {
  const HandlerPolicy policy = node.PolicyOf(handler.name);
  inputs.default_env = node.default_env;
  inputs.default_ulimits = node.default_ulimits;
  inputs.allowed_annotations = policy.allowed_annotations;
  inputs.privileged_without_host_devices = policy.privileged_without_host_devices;
  inputs.has_blockio_classes = node.blockio.has_value();
  inputs.has_rdt_classes = node.rdt;
  inputs.exec_on_first_cpu = policy.exec_on_first_cpu;
  inputs.abilities = {handler.features.recursive_read_only};
  inputs.daemon_dirs = node.daemon_dirs;
}

}  // namespace

absl::StatusOr<security::SelinuxLabels> ContainerService::LabelsOf(
    const model::ContainerSpec& spec, const model::SandboxRecord& sandbox) const {
  if (!node_.selinux->in_use()) {
    return security::SelinuxLabels();
  }
  ASSIGN_OR_RETURN(security::SelinuxLabels labels,
                   security::LabelsFor(spec.security.selinux, sandbox.spec.selinux));
  if (!labels.process.empty()) {
    RETURN_IF_ERROR(node_.selinux->Check(labels.process));
  }
  if (spec.security.privileged) {
    labels.process.clear();
  }
  return labels;
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
  RETURN_IF_ERROR(MapVolumes(ctx, {deps_.mounter, deps_.pauses, deps_.paths}, *sandbox, record.id,
                             prepared.mounts));
  ASSIGN_OR_RETURN(const std::vector<std::string> args, spec::AssembleArgs(prepared, config));

  spec::SpecInputs inputs{
      .container = prepared, .sandbox = *sandbox, .image = config, .node = node_.facts};
  inputs.container_id = record.id.value();
  inputs.image_id = image.id;
  inputs.rootfs_path = deps_.paths.Rootfs(record.id);
  ASSIGN_OR_RETURN(
      inputs.cgroups_path,
      cgroup::SpecCgroupsPath(deps_.cgroups.driver(), record.cgroup_parent, record.id.value()));
  inputs.systemd_cgroup = deps_.cgroups.driver() == cgroup::Driver::kSystemd;
  ASSIGN_OR_RETURN(std::string pid_namespace, PidNamespace(prepared, *sandbox));
  inputs.namespaces =
      PodNamespaces(sandbox->spec, deps_.paths.Namespaces(sandbox->id), std::move(pid_namespace));
  inputs.pod_files = PodFilesOf(deps_.paths, *sandbox);
  ASSIGN_OR_RETURN(inputs.edits, EditsFor(node_, prepared, sandbox->spec, args.front()));
  ASSIGN_OR_RETURN(inputs.devices, spec::PrepareEdits(inputs.edits, record.user));
  inputs.user = record.user;  // with the groups of its devices
  ASSIGN_OR_RETURN(const std::vector<spec::Device> devices, spec::ResolveDevices(prepared.devices));
  inputs.devices.insert(inputs.devices.end(), devices.begin(), devices.end());
  if (prepared.security.privileged) {
    ASSIGN_OR_RETURN(inputs.host_devices, spec::ListHostDevices("/dev"));
  }
  RETURN_IF_ERROR(Confine(node_, prepared.security, labels, inputs));
  AddDefaults(node_, *handler, inputs);
  inputs.min_memory_bytes = LimitsOf(*handler).min_memory_bytes;
  ASSIGN_OR_RETURN(inputs.passwd_path, WritePasswd(ctx, root.get(), record, config, labels));
  if (!inputs.passwd_path.empty()) {
    RETURN_IF_ERROR(base::GiveTo(sandbox::RootOf(sandbox->spec), AT_FDCWD, inputs.passwd_path));
  }

  ASSIGN_OR_RETURN(const spec::SpecOutput output, spec::BuildContainerSpec(inputs));
  for (const std::string& warning : output.warnings) {
    base::Log("container").warn("{} container={}", warning, record.id.Short());
  }
  RETURN_IF_ERROR(
      spec::PrepareRootfs(root.get(), output.rootfs_dirs, sandbox::RootOf(sandbox->spec)));
  RETURN_IF_ERROR(base::WriteFile(deps_.paths.BundleConfig(record.id), output.config_json, 0600));
  RETURN_IF_ERROR(base::WriteFile(deps_.paths.BundleProcess(record.id), output.process_json, 0600));
  return args.front();
}

absl::StatusOr<std::string> ContainerService::WritePasswd(
    const base::OpContext& ctx, int root_fd, const model::ContainerRecord& record,
    const oci::ImageConfig& config, const security::SelinuxLabels& labels) const {
  ASSIGN_OR_RETURN(const std::optional<std::string> passwd,
                   spec::PasswdWithUser(root_fd, record.spec, record.user,
                                        PasswdHome(record.spec, config, record.user)));
  if (!passwd) {
    return std::string();
  }
  std::string path = deps_.paths.BundlePasswd(record.id);
  RETURN_IF_ERROR(base::WriteFile(path, *passwd, 0644));
  if (!labels.mount.empty()) {
    RETURN_IF_ERROR(security::Relabel(ctx, path, labels.mount));
  }
  return path;
}

}  // namespace berth::container
