// SandboxService: pod sandboxes: their pause process, namespaces, cgroup, files and network.
//
// Containers are another service's: Stop and Remove expect that the pod's containers are stopped
// and removed (container/ container_service.h, StopPod and RemovePod do both).
//
// On disk: the record, and what store/paths.h shows under <state>/ns and <state>/sandboxes. The
// record is stored before the first side effect; TearDown undoes a pod from its record alone,
// whatever of it exists: it is the undo of a failed Run, the recovery of one that a crash cut off,
// and the end of every Remove. What happens to a pod is told on the EventBus.
//
// Threads: thread-safe. Run, Stop and Remove block on plugins and the kernel; one at a time per pod
// (Sandbox::op_mu_). Records are handed out as immutable snapshots. Ownership: borrows everything
// in SandboxDeps. Source: CRI v1 RuntimeService, RunPodSandbox .. ListPodSandbox, PortForward.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/event_loop.h"
#include "lib/base/id_index.h"
#include "lib/base/op_context.h"
#include "lib/base/unique_fd.h"
#include "lib/cgroup/pod_cgroups.h"
#include "lib/cni/cni_invoker.h"
#include "lib/cni/network_configs.h"
#include "lib/events/event_bus.h"
#include "lib/model/sandbox.h"
#include "lib/mount/mounter.h"
#include "lib/netns/pause_launcher.h"
#include "lib/sandbox/pod_networks.h"
#include "lib/sandbox/user_namespaces.h"
#include "lib/security/selinux.h"
#include "lib/store/paths.h"
#include "lib/store/record_store.h"

namespace berth::sandbox {

using SandboxPtr = std::shared_ptr<const model::SandboxRecord>;

struct SandboxDeps {
  const store::Paths& paths;
  store::RecordStore& records;
  base::EventLoop& loop;
  mount::Mounter& mounter;
  snapshot::OverlaySnapshotter& snapshotter;
  netns::PauseLauncher& pauses;
  cgroup::PodCgroups& cgroups;
  cni::NetworkConfigs& networks;
  cni::CniInvoker& invoker;
  events::EventBus& events;
  security::Selinux& selinux;
};

struct SandboxOptions {
  std::map<std::string, std::string>
      default_sysctls;  // for pods whose namespaces allow them; the pod's own win
  uint64_t shm_bytes = 64 << 20;
};

// Not connected; close-on-exec, non-blocking. One is absent where the node has no such protocol.
struct PodSockets {
  base::UniqueFd ipv4, ipv6;
};

class SandboxService {
 public:
  SandboxService(SandboxDeps deps, SandboxOptions options);
  ~SandboxService();
  SandboxService(const SandboxService&) = delete;
  SandboxService& operator=(const SandboxService&) = delete;

  // Takes over stored records: those found CREATING are torn down, the others' pauses are watched
  // again. Once, before all else.
  void Recover(std::vector<model::SandboxRecord> records);

  // Lets the network's plugins free what no pod has, once, in the background (PodNetworks). After
  // Recover, and only if that was given every pod there is.
  void CollectNetworkGarbage() { networks_.StartCollection(); }

  // Makes a pod and returns its id. A pod of the same name (FullName) that exists is returned as it
  // is; one being made is waited for; what an earlier failed request could not undo is removed
  // first. Errors leave nothing behind: kInvalidArgument (sysctls, hostname, cgroup parent, ports),
  // kUnavailable (no network), kFailedPrecondition (no user namespaces here), those of plugins and
  // system calls. Where that cannot be, the rest is listed (CREATING, which the CRI shows as not
  // ready), so that Remove can try again.
  absl::StatusOr<model::SandboxId> Run(const base::OpContext& ctx, model::SandboxSpec spec);

  // Takes the network down and ends the pause. Idempotent; unknown id: OK. When a plugin's DEL
  // fails the pod is NOT_READY, the error is returned, and the next Stop or Remove tries again.
  absl::Status Stop(const base::OpContext& ctx, const std::string& id);
  // Stops it if need be and removes all of it. Idempotent; unknown id: OK.
  absl::Status Remove(const base::OpContext& ctx, const std::string& id);

  // Keeps what the kubelet says of the pod's resources (0 or empty: no change); the pod's cgroup is
  // the kubelet's to write. kNotFound.
  absl::Status UpdateResources(const std::string& id, const model::Resources& overhead,
                               const model::Resources& resources);

  // What this node can do for pods that ask for a user namespace.
  UserNamespaces& user_namespaces() { return user_namespaces_; }
  // TCP sockets in the pod's network, for its ports (CRI v1 PortForward). kNotFound;
  // kFailedPrecondition: the pod is not ready.
  absl::StatusOr<PodSockets> OpenSockets(const std::string& id) const;
  // The snapshot of a pod that is ready. The same errors; `what` could not be done.
  absl::StatusOr<SandboxPtr> GetReady(const std::string& id, std::string_view what) const;

  // Full id or unique prefix. kNotFound; kInvalidArgument when ambiguous or empty.
  absl::StatusOr<SandboxPtr> Get(const std::string& id) const;
  // Newest first, without those being made.
  std::vector<SandboxPtr> List() const;

 private:
  class Sandbox;
  using Ptr = std::shared_ptr<Sandbox>;

  absl::Status ChooseLabel(model::SandboxSpec& spec);
  absl::Status Create(const base::OpContext& ctx, const Ptr& sandbox);
  absl::Status WriteFiles(const base::OpContext& ctx, const model::SandboxRecord& record);
  absl::Status MapLayers(const model::SandboxRecord& record);
  absl::Status ConnectAndPlace(const base::OpContext& ctx, model::SandboxRecord& record);
  bool UndoHalfMade(const base::OpContext& ctx, model::SandboxRecord& record);
  absl::Status TearDown(const base::OpContext& ctx, model::SandboxRecord& record);
  void WatchPause(const Ptr& sandbox);

  const SandboxDeps deps_;
  const SandboxOptions options_;
  base::IdIndex<Sandbox> index_;
  PodNetworks networks_;
  UserNamespaces user_namespaces_;
};

}  // namespace berth::sandbox
