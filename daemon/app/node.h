// Node: everything that berthd consists of below its gRPC services, in the order of construction;
// destroyed in reverse.
//
// Threads: Create and StopLoop on the main thread; what it hands out says for itself. After
// StopLoop no callback runs any more.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "daemon/app/root_lock.h"
#include "daemon/config/config.h"
#include "lib/base/event_loop.h"
#include "lib/base/process_runner.h"
#include "lib/cgroup/pod_cgroups.h"
#include "lib/check/store_check.h"
#include "lib/cni/cni_invoker.h"
#include "lib/cni/network_configs.h"
#include "lib/cni/network_health.h"
#include "lib/container/container_service.h"
#include "lib/container/node_setup.h"
#include "lib/events/event_bus.h"
#include "lib/image/image_service.h"
#include "lib/mount/syscall_mounter.h"
#include "lib/netns/pause_launcher.h"
#include "lib/registry/curl_transport.h"
#include "lib/registry/registry_client.h"
#include "lib/runtime/runtime_handlers.h"
#include "lib/sandbox/sandbox_service.h"
#include "lib/snapshot/overlay_snapshotter.h"
#include "lib/stats/stats_service.h"
#include "lib/store/disk_reserve.h"
#include "lib/store/image_store.h"
#include "lib/store/paths.h"
#include "lib/store/record_store.h"

namespace berth::app {

class Node {
 public:
  // Builds all of it and takes over what an earlier berthd left. kFailedPrecondition: another
  // berthd has the root, no OCI runtime works, no cgroups are mounted; others as the parts say.
  static absl::StatusOr<std::unique_ptr<Node>> Create(const config::Config& config);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Reads registries.conf, its drop-ins and the aliases' cache again, for pulls from now on. On an
  // error everything stays as it was. On the main thread.
  absl::Status ReloadRegistries(const config::ImageConfig& config);

  base::EventLoop& loop() { return loop_; }
  void StopLoop() { loop_.Stop(); }

  const store::Paths& paths() const { return paths_; }
  image::ImageService& images() { return *images_; }
  sandbox::SandboxService& sandboxes() { return *sandboxes_; }
  container::ContainerService& containers() { return *containers_; }
  stats::StatsService& stats() { return *stats_; }
  cni::NetworkConfigs& networks() { return *networks_; }
  cni::NetworkHealth& network_health() { return *network_health_; }
  const runtime::RuntimeHandlers& handlers() const { return *handlers_; }
  const cgroup::PodCgroups& cgroups() const { return *cgroups_; }
  events::EventBus& events() { return events_; }
  // For a check beside the running daemon.
  check::CheckDeps check_deps();

 private:
  explicit Node(const config::Config& config)
      : paths_(config.root, config.state), reserve_(paths_.Reserve()) {}

  absl::Status OpenRoot();
  absl::Status EmptyTemporary();
  absl::Status BuildImages(const config::Config& config);
  absl::Status BuildPods(const config::Config& config);
  absl::Status BuildContainers(const config::Config& config);
  absl::StatusOr<security::Apparmor> LoadApparmor(const std::string& profile);
  absl::Status Recover();

  const store::Paths paths_;
  std::optional<RootLock> lock_;
  base::EventLoop loop_;
  base::SystemProcessRunner runner_;
  mount::SyscallMounter mounter_;
  store::DiskReserve reserve_;
  std::unique_ptr<store::Database> database_;
  std::optional<store::RecordStore> records_;
  std::optional<store::ImageStore> image_store_;
  std::optional<snapshot::OverlaySnapshotter> snapshotter_;
  registry::CurlTransport transport_;
  std::optional<registry::RegistryClient> registry_;
  std::optional<image::ImageService> images_;
  cgroup::SystemdScopeBus bus_;
  std::optional<cgroup::PodCgroups> cgroups_;
  std::optional<cni::NetworkConfigs> networks_;
  std::optional<cni::CniInvoker> invoker_;
  std::optional<cni::NetworkHealth> network_health_;
  std::optional<security::Selinux> selinux_;
  std::optional<netns::PauseLauncher> pauses_;
  events::EventBus events_;
  std::optional<sandbox::SandboxService> sandboxes_;
  std::optional<runtime::RuntimeHandlers> handlers_;
  std::optional<container::NodeSetup> setup_;
  std::optional<container::ContainerService> containers_;
  std::optional<stats::StatsService> stats_;
};

}  // namespace berth::app
