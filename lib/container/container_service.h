// ContainerService: containers and what runs in them; and the end of whole pods, because containers
// come before their pod.
//
// On disk: the record, <root>/containers/<id> (writable layer) and <state>/containers/<id>
// (bundle), see store/paths.h. A container's exit is written by its monitor, read when the
// monitor's socket closes (event loop), and stored by a work queue. TearDown undoes a container
// from its record alone; Create's undo, recovery and Remove are the same function. What happens to
// a container is told on the EventBus.
//
// Locks: Container::op_mu_ serialises Start, UpdateResources and Remove of one container; nobody
// holds it while waiting for a grace period. Container::state_mu_ is a leaf: the record snapshot,
// the stop deadline, the exit's condition variable. Threads: thread-safe; all but Get and List
// block. Ownership: borrows everything in ContainerDeps. Source: CRI v1 RuntimeService,
// CreateContainer .. ExecSync, Exec, Attach.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "lib/base/event_loop.h"
#include "lib/base/id_index.h"
#include "lib/base/op_context.h"
#include "lib/base/work_queue.h"
#include "lib/cgroup/pod_cgroups.h"
#include "lib/container/creations.h"
#include "lib/container/image_volumes.h"
#include "lib/events/event_bus.h"
#include "lib/image/image_service.h"
#include "lib/model/container.h"
#include "lib/mount/mounter.h"
#include "lib/netns/pause_launcher.h"
#include "lib/runtime/monitor_client.h"
#include "lib/runtime/oci_runtime.h"
#include "lib/runtime/runtime_handlers.h"
#include "lib/sandbox/sandbox_service.h"
#include "lib/security/selinux.h"
#include "lib/snapshot/overlay_snapshotter.h"
#include "lib/spec/resources.h"
#include "lib/store/paths.h"
#include "lib/store/record_store.h"

namespace berth::spec {
struct ResourceUpdate;
}

namespace berth::container {

using ContainerPtr = std::shared_ptr<const model::ContainerRecord>;

struct ContainerDeps {
  const store::Paths& paths;
  store::RecordStore& records;
  base::EventLoop& loop;
  base::ProcessRunner& runner;
  mount::Mounter& mounter;
  netns::PauseLauncher& pauses;
  snapshot::OverlaySnapshotter& snapshotter;
  cgroup::PodCgroups& cgroups;
  const runtime::RuntimeHandlers& handlers;
  image::ImageService& images;
  sandbox::SandboxService& sandboxes;
  events::EventBus& events;
};

struct NodeSetup;  // node_setup.h

class ContainerService {
 public:
  ContainerService(ContainerDeps deps, std::string monitor_path, NodeSetup& node);
  ~ContainerService();
  ContainerService(const ContainerService&) = delete;
  ContainerService& operator=(const ContainerService&) = delete;

  // The layers that containers stand on, for ImageService::SetLayersInUse. Leaf locks only.
  std::set<int64_t> LayersInUse() const;

  // Takes over stored records: half-made ones are torn down, the others' monitors are adopted,
  // exits that happened meanwhile are read. Starts no process for a container that is whole. Once,
  // before all else.
  void Recover(std::vector<model::ContainerRecord> records);

  // Makes a container in a READY pod; same name again: the existing one's id, or that of the one
  // being made. Errors leave nothing behind: kNotFound (pod, image), kFailedPrecondition (pod not
  // ready, or stopped meanwhile), kInvalidArgument (fields), the runtime's own. Where that cannot
  // be, the rest is listed as exited (kCreateError), and the next request of the name removes it.
  absl::StatusOr<model::ContainerId> Create(const base::OpContext& ctx,
                                            const std::string& sandbox_id,
                                            model::ContainerSpec spec);
  // kNotFound; kFailedPrecondition when it is not CREATED. A failed start leaves it EXITED with the
  // error as its message.
  absl::Status Start(const base::OpContext& ctx, const std::string& id);
  // Sends the stop signal, kills after `timeout` (0: at once) and returns when it has ended. A
  // shorter timeout of another caller replaces a longer one. At ctx's end: its error; the container
  // goes on stopping, and is killed at its time. Absent or ended: OK.
  absl::Status Stop(const base::OpContext& ctx, const std::string& id, absl::Duration timeout);
  // Kills it if need be and removes all of it. Absent: OK.
  absl::Status Remove(const base::OpContext& ctx, const std::string& id);

  // kFailedPrecondition: not running (created counts not). See OciRuntime::ExecSync for results and
  // errors.
  absl::StatusOr<runtime::ExecResult> ExecSync(const base::OpContext& ctx, const std::string& id,
                                               const std::vector<std::string>& command,
                                               absl::Duration timeout);
  // A command whose streams the caller moves; see OciRuntime::StartExec. `helper` of the result is
  // reaped already. kFailedPrecondition: not running.
  absl::StatusOr<runtime::StartedExec> StartExec(const base::OpContext& ctx, const std::string& id,
                                                 const std::vector<std::string>& command,
                                                 const runtime::ExecStreams& streams);
  // A connection to the container's monitor that is attached to these of its own streams (with a
  // terminal all output is `out`); see MonitorConnection::Attach. kFailedPrecondition: not running.
  absl::StatusOr<base::UniqueFd> Attach(const base::OpContext& ctx, const std::string& id, bool in,
                                        bool out, bool err);
  // Whether that would be possible now; the snapshot that says so. kNotFound; kFailedPrecondition:
  // it is not running, and `what` could not be done.
  absl::StatusOr<ContainerPtr> GetRunning(const std::string& id, std::string_view what) const;
  // Changes the limits that `wanted` sets (0 or empty: no change) and keeps `annotations` with the
  // record. All or nothing, also when berthd dies meanwhile. kNotFound; kInvalidArgument (limits
  // that contradict each other or that the kernel does not take); kFailedPrecondition: exited, or
  // a memory limit below what is in use. See container_update.cc.
  absl::Status UpdateResources(const base::OpContext& ctx, const std::string& id,
                               const model::Resources& wanted,
                               const std::map<std::string, std::string>& annotations);
  // Output that could not be written to the log so far; absent where nobody knows.
  std::optional<uint64_t> LostLogBytes(const base::OpContext& ctx,
                                       const model::ContainerRecord& record) const;
  // kFailedPrecondition: not running.
  absl::Status ReopenLog(const base::OpContext& ctx, const std::string& id);

  // CRI StopPodSandbox / RemovePodSandbox: what is being made in the pod is cancelled and undone;
  // the pod's containers (killed / removed, all at once), then the pod. Idempotent.
  absl::Status StopPod(const base::OpContext& ctx, const std::string& sandbox_id);
  absl::Status RemovePod(const base::OpContext& ctx, const std::string& sandbox_id);

  // Full id or unique prefix. kNotFound; kInvalidArgument when ambiguous or empty.
  absl::StatusOr<ContainerPtr> Get(const std::string& id) const;
  // Newest first, without those being made.
  std::vector<ContainerPtr> List() const;
  std::vector<ContainerPtr> ListOf(const model::SandboxId& sandbox_id) const;

 private:
  class Container;
  using Ptr = std::shared_ptr<Container>;

  // container_create.cc
  absl::StatusOr<model::ContainerId> CreateNamed(const base::OpContext& ctx, const Ptr& container,
                                                 const sandbox::SandboxPtr& sandbox);
  absl::Status Build(const base::OpContext& ctx, const Ptr& container,
                     const sandbox::SandboxPtr& sandbox, const model::ImageRecord& image,
                     const VolumeLeases& volumes);
  absl::StatusOr<runtime::MonitorState> SpawnMonitor(const base::OpContext& ctx,
                                                     const model::ContainerRecord& record);
  absl::Status MakeBundle(const model::ContainerId& id, const model::SandboxSpec& pod) const;
  void PlaceMonitor(const model::ContainerRecord& record, const runtime::ProcessIdentity& monitor);
  // container_bundle.cc
  // Fills in what the image says (user, stop signal); returns the command, for errors.
  absl::StatusOr<std::string> WriteBundle(const base::OpContext& ctx,
                                          model::ContainerRecord& record,
                                          const sandbox::SandboxPtr& sandbox,
                                          const model::ImageRecord& image,
                                          const security::SelinuxLabels& labels);
  absl::StatusOr<security::SelinuxLabels> LabelsOf(const model::ContainerSpec& spec,
                                                   const model::SandboxRecord& sandbox) const;
  absl::StatusOr<std::string> PidNamespace(const model::ContainerSpec& spec,
                                           const model::SandboxRecord& sandbox) const;
  // Path of the passwd file for the container's user; empty: it needs none.
  absl::StatusOr<std::string> WritePasswd(const base::OpContext& ctx, int root_fd,
                                          const model::ContainerRecord& record,
                                          const oci::ImageConfig& config,
                                          const security::SelinuxLabels& labels) const;
  // container_teardown.cc
  absl::Status TearDown(const base::OpContext& ctx, const model::ContainerRecord& record);
  absl::Status EndMonitor(const base::OpContext& ctx, const model::ContainerRecord& record);
  // container_exit.cc
  void OnMonitorGone(const std::string& id);
  void HandleMonitorGone(const Ptr& container);
  void WatchOrphan(const Ptr& container);
  base::EventLoop::TimerId KillAfter(const Ptr& container, absl::Duration grace);
  void Finish(const Ptr& container, const runtime::ExitRecord& exit, const std::string& message);
  absl::Status Persist(Container& container);
  absl::Status Signal(const model::ContainerRecord& record, int signal) const;
  absl::Status KillAndWait(const base::OpContext& ctx, const Ptr& container);
  absl::Status KillLeftovers(const base::OpContext& ctx,
                             const model::ContainerRecord& record) const;
  // container_update.cc; called with op_mu held, or before any request is served
  absl::Status ApplyUpdate(const base::OpContext& ctx, const Ptr& container,
                           const model::Resources& wanted, const spec::ResourceUpdate& update,
                           const std::map<std::string, std::string>& annotations);
  absl::Status WriteResources(const model::ContainerRecord& record,
                              const spec::ResourceUpdate& update);
  absl::Status UndoUpdate(const Ptr& container);
  // container_recovery.cc
  void RecoverOne(model::ContainerRecord record);
  void Adopt(const Ptr& container);

  base::Owner RootOf(const model::ContainerRecord& record) const;
  absl::StatusOr<std::string> ExecProcess(const model::ContainerRecord& record,
                                          const std::vector<std::string>& command, bool tty) const;
  absl::StatusOr<runtime::OciRuntime> RuntimeOf(const model::ContainerRecord& record) const;
  static spec::ResourceLimits LimitsOf(const runtime::Handler& handler);
  std::vector<Ptr> OfSandbox(const model::SandboxId& id) const;

  const ContainerDeps deps_;
  const std::string monitor_path_;
  NodeSetup& node_;
  base::IdIndex<Container> index_;
  Creations creations_;

  // Monitors that ended before their container was in the index.
  base::Mutex early_mu_;
  std::set<std::string> early_gone_ ABSL_GUARDED_BY(early_mu_);

  base::WorkQueue persist_queue_;
  base::WorkQueue place_queue_;
  runtime::Monitors monitors_;
};

}  // namespace berth::container
