#include "daemon/app/node.h"

#include <algorithm>
#include <map>
#include <utility>

#include "fmt/format.h"

#include "daemon/app/programs.h"
#include "daemon/app/unserved_settings.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/registry/auth_file.h"

namespace berth::app {

namespace {

// For what is asked of the machine once, at start.
constexpr absl::Duration kProbeBudget = absl::Seconds(30);

// "name=value" of the configuration, which has checked the form.
std::map<std::string, std::string> SysctlMap(const std::vector<std::string>& list) {
  std::map<std::string, std::string> map;
  for (const std::string& item : list) {
    const size_t equals = item.find('=');
    map[item.substr(0, equals)] = item.substr(equals + 1);
  }
  return map;
}

absl::StatusOr<security::SeccompProfile> RuntimeDefaultProfile(const std::string& path) {
  if (path.empty()) {
    return security::SeccompProfile::Default();
  }
  return security::SeccompProfile::Load(path);
}

// The default stands for both places where containers/image, and so CRI-O, looks.
std::vector<std::string> CertsDirs(const std::string& certs_dir) {
  if (certs_dir.empty()) {
    return {};
  }
  std::vector<std::string> dirs = {certs_dir};
  if (certs_dir == config::ImageConfig().certs_dir) {
    dirs.emplace_back("/etc/docker/certs.d");
  }
  return dirs;
}

absl::StatusOr<std::shared_ptr<const registry::RegistriesConf>> LoadRegistries(
    const config::ImageConfig& config) {
  ASSIGN_OR_RETURN(registry::RegistriesConf conf,
                   registry::RegistriesConf::Load(
                       config.registries_conf, config.registries_conf_dir, registry::kAliasesFile));
  for (const std::string& warning : conf.warnings()) {
    base::Log("app").warn("{}; ignoring it", warning);
  }
  return std::make_shared<const registry::RegistriesConf>(std::move(conf));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Node>> Node::Create(const config::Config& config) {
  std::unique_ptr<Node> node(new Node(config));
  RETURN_IF_ERROR(base::Annotate(node->OpenRoot(), fmt::format("start on root '{}'", config.root)));
  node->loop_.Start();
  for (const std::string& setting : UnservedSettings(config)) {
    base::Log("app").warn("{}", setting);
  }
  RETURN_IF_ERROR(node->BuildImages(config));
  RETURN_IF_ERROR(node->BuildPods(config));
  RETURN_IF_ERROR(node->BuildContainers(config));
  RETURN_IF_ERROR(node->Recover());
  return node;
}

Node::~Node() { loop_.Stop(); }

check::CheckDeps Node::check_deps() {
  return {.paths = paths_,
          .database = *database_,
          .images = *image_store_,
          .records = *records_,
          .mounter = mounter_,
          .forget = [this](const std::set<int64_t>& layers,
                           const std::set<std::string>& ids) -> absl::Status {
            RETURN_IF_ERROR(images_->Condemn(layers).status());
            for (const std::string& id : ids) {
              RETURN_IF_ERROR(images_->Remove(id));
            }
            return absl::OkStatus();
          },
          .settle = [this] { images_->WaitIdle(); }};
}

absl::Status Node::OpenRoot() {
  RETURN_IF_ERROR(base::MakeDirs(paths_.root(), 0700));
  RETURN_IF_ERROR(base::MakeDirs(paths_.state(), 0700));
  ASSIGN_OR_RETURN(lock_, RootLock::Take(paths_.Lock(), paths_.state()));
  for (const std::string& dir : {paths_.ContainersRoot(), paths_.NamespacesState(),
                                 paths_.SandboxesState(), paths_.ContainersState()}) {
    RETURN_IF_ERROR(base::MakeDirs(dir, 0700));
  }
  RETURN_IF_ERROR(EmptyTemporary());
  ASSIGN_OR_RETURN(database_, store::Database::Open(paths_.Database(), &reserve_));
  reserve_.Make();
  records_.emplace(*database_);
  image_store_.emplace(*database_);
  return absl::OkStatus();
}

// Only calls whose berthd is dead can have files there: what still runs of them ends as if it had
// been killed with its caller. Monitors, which outlive a berthd, use their bundles.
absl::Status Node::EmptyTemporary() {
  const std::string path = paths_.Temporary();
  ASSIGN_OR_RETURN(const std::vector<std::string> mounts, mounter_.MountsUnder(path));
  for (const std::string& mount : mounts) {
    RETURN_IF_ERROR(mounter_.Unmount(mount, /*detach=*/true));
  }
  RETURN_IF_ERROR(base::RemoveTree(path));
  return base::MakeDirs(path, 0700);
}

absl::Status Node::BuildImages(const config::Config& config) {
  snapshotter_.emplace(paths_.Layers(), mounter_);
  RETURN_IF_ERROR(snapshotter_->Prepare());
  ASSIGN_OR_RETURN(const auto conf, LoadRegistries(config.image));
  registry_.emplace(
      transport_, conf,
      registry::RegistryOptions{.certs_dirs = CertsDirs(config.image.certs_dir),
                                .auth_files = config.image.auth_file.empty()
                                                  ? registry::DefaultAuthFiles()
                                                  : std::vector{config.image.auth_file},
                                .runner = &runner_,
                                .progress_timeout = config.image.pull_progress_timeout,
                                .connections_per_blob = config.image.connections_per_layer});
  images_.emplace(*registry_, *snapshotter_, *image_store_,
                  image::ImageOptions{.max_parallel_downloads = config.image.max_parallel_downloads,
                                      .pinned = config.image.pinned,
                                      .import_path = paths_.Import(),
                                      .recipes_path = paths_.Recipes(),
                                      .trash_path = paths_.Trash(),
                                      .reserve = &reserve_});
  return absl::OkStatus();
}

absl::Status Node::ReloadRegistries(const config::ImageConfig& config) {
  ASSIGN_OR_RETURN(auto conf, LoadRegistries(config));
  registry_->SetConf(std::move(conf));
  return absl::OkStatus();
}

absl::Status Node::BuildPods(const config::Config& config) {
  const base::OpContext ctx = base::OpContext::WithTimeout(kProbeBudget);
  ASSIGN_OR_RETURN(cgroup::Hierarchy hierarchy, cgroup::Hierarchy::Detect());
  ASSIGN_OR_RETURN(const cgroup::Driver driver,
                   cgroup::ChooseDriver(ctx, config.runtime.cgroup_manager, bus_));
  cgroups_.emplace(driver, std::move(hierarchy), bus_);
  networks_.emplace(cni::NetworkOptions{.conf_dir = config.network.conf_dir,
                                        .plugin_dirs = config.network.plugin_dirs,
                                        .default_network = config.network.default_network},
                    &loop_);
  invoker_.emplace(runner_, config.network.plugin_dirs);
  network_health_.emplace(*networks_, *invoker_);
  ASSIGN_OR_RETURN(std::string pause, FindOwnProgram(config.runtime.pause, "berth-pause", "pause"));
  pauses_.emplace(runner_, std::move(pause));
  selinux_.emplace(config.runtime.selinux);
  if (!selinux_->warning().empty()) {
    base::Log("app").warn("{}", selinux_->warning());
  }
  sandboxes_.emplace(
      sandbox::SandboxDeps{paths_, *records_, loop_, mounter_, *snapshotter_, *pauses_, *cgroups_,
                           *networks_, *invoker_, events_, *selinux_},
      sandbox::SandboxOptions{.default_sysctls = SysctlMap(config.runtime.default_sysctls)});
  return absl::OkStatus();
}

absl::Status Node::BuildContainers(const config::Config& config) {
  const base::OpContext ctx = base::OpContext::WithTimeout(kProbeBudget);
  std::vector<runtime::HandlerConfig> runtimes;
  std::map<std::string, container::HandlerPolicy> policies;
  for (const auto& [name, handler] : config.runtimes) {
    runtimes.push_back(
        {.name = name, .path = handler.path, .root = handler.root, .options = handler.options});
    policies[name] = {handler.allowed_annotations, handler.privileged_without_host_devices,
                      handler.exec_cpu_affinity == "first"};
  }
  const bool chosen = config.runtime.default_handler != config::RuntimeConfig().default_handler;
  ASSIGN_OR_RETURN(handlers_, runtime::RuntimeHandlers::Load(
                                  ctx, runner_, runtimes, config.runtime.default_handler, chosen,
                                  paths_.Temporary(), paths_.RuntimeProbes()));
  for (const runtime::BrokenHandler& broken : handlers_->broken()) {
    base::Log("app").warn("an OCI runtime does not work and is left out handler={} error=\"{}\"",
                          broken.name, broken.error.ToString());
  }
  ASSIGN_OR_RETURN(security::SeccompProfile seccomp,
                   RuntimeDefaultProfile(config.runtime.seccomp_profile));
  setup_.emplace(container::NodeSetup{
      .facts = spec::ProbeNode(cgroups_->hierarchy().version() == cgroup::Version::kV2),
      .seccomp = std::make_unique<security::SeccompPolicy>(std::move(seccomp)),
      .selinux = &*selinux_});
  ASSIGN_OR_RETURN(setup_->apparmor, LoadApparmor(config.runtime.apparmor_profile));
  ASSIGN_OR_RETURN(setup_->default_capabilities,
                   security::ParseCapabilities(config.runtime.default_capabilities));
  ASSIGN_OR_RETURN(setup_->bounding_capabilities, security::ReadOwnBoundingSet());
  for (const std::string& limit : config.runtime.default_ulimits) {
    ASSIGN_OR_RETURN(spec::Ulimit ulimit, spec::ParseUlimit(limit));
    setup_->default_ulimits.push_back(std::move(ulimit));
  }
  setup_->handlers = std::move(policies);
  setup_->daemon_dirs = {paths_.root(), paths_.state()};
  setup_->cdi_spec_dirs = config.runtime.cdi_spec_dirs;
  setup_->hooks = std::make_unique<hooks::HookDirs>(config.runtime.hooks_dirs);
  if (const std::string& path = config.runtime.blockio_config_file; !path.empty()) {
    ASSIGN_OR_RETURN(setup_->blockio, qos::BlockioClasses::Load(path));
  }
  setup_->rdt = config.runtime.rdt;
  setup_->log_to_journald = config.runtime.log_to_journald;
  setup_->log_max_bytes = std::max(config.runtime.log_size_max, 0);
  ASSIGN_OR_RETURN(std::string monitor,
                   FindOwnProgram(config.runtime.monitor, "berth-monitor", "monitor"));
  containers_.emplace(
      container::ContainerDeps{paths_, *records_, loop_, runner_, mounter_, *pauses_, *snapshotter_,
                               *cgroups_, *handlers_, *images_, *sandboxes_, events_},
      std::move(monitor), *setup_);
  stats_.emplace(cgroups_->driver(), cgroups_->hierarchy(), paths_);
  return absl::OkStatus();
}

absl::StatusOr<security::Apparmor> Node::LoadApparmor(const std::string& profile) {
  security::ApparmorOptions options = {.profile = profile,
                                       .loaded_text_path = paths_.ApparmorProfile()};
  options.parser = base::FindProgram("apparmor_parser").value_or("");
  ASSIGN_OR_RETURN(
      security::Apparmor apparmor,
      security::Apparmor::Load(base::OpContext::WithTimeout(kProbeBudget), runner_, options));
  for (const std::string& warning : apparmor.warnings()) {
    base::Log("app").warn("{}", warning);
  }
  return apparmor;
}

absl::Status Node::Recover() {
  ASSIGN_OR_RETURN(store::RecordStore::All all, records_->Load());
  for (const std::string& unreadable : all.unreadable) {
    base::Log("app").error("a record in the database cannot be read and is left as it is: {}",
                           unreadable);
  }
  // What containers stand on is known before images may let layers go.
  images_->SetLayersInUse([this] { return containers_->LayersInUse(); });
  sandboxes_->Recover(std::move(all.sandboxes));
  containers_->Recover(std::move(all.containers));
  events_.SetLook([this](const model::SandboxId& id) {
    events::Pod pod;
    if (absl::StatusOr<sandbox::SandboxPtr> sandbox = sandboxes_->Get(id.value()); sandbox.ok()) {
      pod.sandbox = *std::move(sandbox);
    }
    pod.containers = containers_->ListOf(id);
    return pod;
  });
  RETURN_IF_ERROR(images_->Recover());
  if (all.unreadable.empty()) {
    sandboxes_->CollectNetworkGarbage();
  } else {
    base::Log("app").warn(
        "the network's garbage is not collected: what cannot be read may be a pod's");
  }
  return absl::OkStatus();
}

}  // namespace berth::app
