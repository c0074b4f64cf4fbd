#include "daemon/app/maintenance.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <set>

#include "fmt/format.h"
#include "google/protobuf/util/json_util.h"

#include "daemon/app/node.h"
#include "daemon/app/root_lock.h"
#include "daemon/cri/render_check.h"
#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/check/store_check.h"
#include "lib/mount/syscall_mounter.h"
#include "lib/netns/pause_launcher.h"
#include "lib/store/database_check.h"
#include "lib/store/disk_reserve.h"

namespace berth::app {

namespace {

using Say = std::function<void(const std::string& line)>;

constexpr absl::Duration kPodBudget = absl::Minutes(2);
constexpr absl::Duration kKillBudget = absl::Seconds(10);

absl::StatusOr<std::string> ToJson(const check::Report& report) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status =
      google::protobuf::util::MessageToJsonString(cri::RenderCheck(report), &text, options);
  return status.ok() ? absl::StatusOr<std::string>(text)
                     : absl::InternalError("the report cannot be written as JSON");
}

// Looks at the file, and where it is damaged and `repair` says so, makes a new one of it.
absl::StatusOr<std::vector<check::Problem>> RepairDatabase(const std::string& path, bool repair) {
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, store::InspectDatabase(path));
  std::vector<check::Problem> problems;
  for (const std::string& text : texts) {
    problems.push_back({.kind = check::kDatabase,
                        .object = path,
                        .text = text,
                        .advice = "`berthctl check --repair` saves what can be read"});
  }
  if (!repair || texts.empty()) {
    return problems;
  }
  ASSIGN_OR_RETURN(const store::Salvaged salvaged, store::SalvageDatabase(path));
  for (check::Problem& problem : problems) {
    problem.is_repaired = true;
    problem.advice = fmt::format(
        "a new one was made of the {} rows that could be read; the damaged "
        "one is '{}'",
        salvaged.rows, salvaged.kept_as);
  }
  return problems;
}

// As ImageService does it, without one.
absl::Status Forget(store::ImageStore& images, const store::Paths& paths,
                    const std::set<int64_t>& in_use, const std::set<int64_t>& layers,
                    const std::set<std::string>& ids) {
  RETURN_IF_ERROR(images.CondemnLayers(layers).status());
  for (const std::string& id : ids) {
    RETURN_IF_ERROR(images.RemoveImage(id));
  }
  ASSIGN_OR_RETURN(const std::vector<store::LayerRecord> collected, images.CollectLayers(in_use));
  RETURN_IF_ERROR(images.Flush());
  for (const store::LayerRecord& layer : collected) {
    RETURN_IF_ERROR(base::RemoveTree(paths.Layer(layer.number)));
    RETURN_IF_ERROR(base::RemoveFile(paths.Recipe(layer.number)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::set<int64_t>> LayersOfContainers(store::RecordStore& records) {
  ASSIGN_OR_RETURN(const store::RecordStore::All all, records.Load());
  std::set<int64_t> layers;
  for (const model::ContainerRecord& record : all.containers) {
    layers.insert(record.layers.begin(), record.layers.end());
    layers.insert(record.volume_layers.begin(), record.volume_layers.end());
  }
  return layers;
}

absl::StatusOr<check::Report> CheckLocked(const store::Paths& paths, bool layers, bool repair) {
  ASSIGN_OR_RETURN(const std::vector<check::Problem> damage,
                   RepairDatabase(paths.Database(), repair));
  check::Report report;
  if (damage.empty() || repair) {
    store::DiskReserve reserve(paths.Reserve());
    ASSIGN_OR_RETURN(const std::unique_ptr<store::Database> database,
                     repair ? store::Database::Open(paths.Database(), &reserve)
                            : store::Database::OpenReadOnly(paths.Database()));
    store::ImageStore images(*database);
    store::RecordStore records(*database);
    mount::SyscallMounter mounter;
    const auto forget = [&](const std::set<int64_t>& numbers,
                            const std::set<std::string>& ids) -> absl::Status {
      ASSIGN_OR_RETURN(const std::set<int64_t> in_use, LayersOfContainers(records));
      return Forget(images, paths, in_use, numbers, ids);
    };
    const check::CheckDeps deps = {.paths = paths,
                                   .database = *database,
                                   .images = images,
                                   .records = records,
                                   .mounter = mounter,
                                   .forget = forget};
    ASSIGN_OR_RETURN(report, check::CheckStore(base::OpContext::Background(), deps,
                                               {.layers = layers, .repair = repair}));
  } else {
    report.notes.push_back("the rest can be looked at when the database is whole");
  }
  report.problems.insert(report.problems.begin(), damage.begin(), damage.end());
  return report;
}

// Ends a process that berth's records name, if it is still that one.
void Kill(int32_t pid, uint64_t start, const std::string& what, const Say& say) {
  if (pid <= 0) {
    return;
  }
  const absl::StatusOr<base::UniqueFd> pidfd = netns::OpenProcess(pid, start);
  if (!pidfd.ok() || ::syscall(SYS_pidfd_send_signal, pidfd->get(), SIGKILL, nullptr, 0) != 0) {
    return;  // it has ended
  }
  pollfd fd = {pidfd->get(), POLLIN, 0};
  const int ended = ::poll(&fd, 1, static_cast<int>(absl::ToInt64Milliseconds(kKillBudget)));
  say(ended > 0 ? fmt::format("killed {} (pid {})", what, pid)
                : fmt::format("{} (pid {}) does not end", what, pid));
}

void KillRecorded(const store::Paths& paths, const Say& say) {
  const auto database = store::Database::OpenReadOnly(paths.Database());
  if (!database.ok()) {
    say("processes of containers cannot be looked for: " +
        std::string(database.status().message()));
    return;
  }
  const auto records = store::RecordStore(**database).Load();
  if (!records.ok()) {
    say("processes of containers cannot be looked for: " + std::string(records.status().message()));
    return;
  }
  for (const model::ContainerRecord& record : records->containers) {
    // The container's first process takes those of its namespace along; its monitor would write
    // the exit.
    Kill(record.monitor_pid, record.monitor_start, "monitor of container " + record.id.Short(),
         say);
    Kill(record.pid, record.pid_start, "container " + record.id.Short(), say);
  }
  for (const model::SandboxRecord& record : records->sandboxes) {
    Kill(record.pause_pid, record.pause_start, "pause of pod " + record.id.Short(), say);
  }
}

// All files and mounts below `dir`, which stays; `keep`: a name in it that does, too.
absl::Status Empty(const std::string& dir, const std::string& keep) {
  mount::SyscallMounter mounter;
  ASSIGN_OR_RETURN(const std::vector<std::string> mounts, mounter.MountsUnder(dir));
  for (const std::string& mount : mounts) {
    // A disk that somebody mounted for the layers stays; what is on it goes.
    const bool is_disk = mount != dir && mount.find('/', dir.size() + 1) == std::string::npos;
    if (mount == dir) {
      continue;
    }
    RETURN_IF_ERROR(is_disk ? Empty(mount, "") : mounter.Unmount(mount, /*detach=*/true));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> names, base::ListDir(dir));
  for (const std::string& name : names) {
    const std::string path = dir + "/" + name;
    if (name != keep && !mounter.IsMountPoint(path).value_or(false)) {
      RETURN_IF_ERROR(base::RemoveTree(path));
    }
  }
  return absl::OkStatus();
}

// Ends pods in order: containers, network, namespaces. Goes on after a failure; the first is
// returned.
absl::Status RemovePods(Node& node, const Say& say) {
  absl::Status first;
  for (const sandbox::SandboxPtr& pod : node.sandboxes().List()) {
    const absl::Status status =
        node.containers().RemovePod(base::OpContext::WithTimeout(kPodBudget), pod->id.value());
    if (status.ok()) {
      say("removed pod " + pod->spec.FullName());
    } else {
      say(fmt::format("pod {} is not wholly removed: {}", pod->spec.FullName(),
                      std::string(status.message())));
      first = first.ok() ? status : first;
    }
  }
  return first;
}

absl::Status CheckNothingRuns(Node& node) {
  size_t running = 0;
  for (const container::ContainerPtr& container : node.containers().List()) {
    running += container->state() != model::ContainerState::kExited ? 1 : 0;
  }
  size_t ready = 0;
  for (const sandbox::SandboxPtr& pod : node.sandboxes().List()) {
    ready += pod->state == model::SandboxState::kReady ? 1 : 0;
  }
  return running + ready == 0
             ? absl::OkStatus()
             : absl::FailedPreconditionError(fmt::format(
                   "{} containers and {} pods still run; end them first (crictl rmp -f), "
                   "or wipe with --all, which ends them",
                   running, ready));
}

absl::Status RemoveImages(Node& node, const Say& say) {
  const auto images = node.images().List();
  for (const auto& image : images) {
    RETURN_IF_ERROR(node.images().Remove(image->id));
  }
  say(fmt::format("removed {} images", images.size()));
  return absl::OkStatus();
}

// In order, as far as that can be; false: some of it was not.
bool TakeApart(const config::Config& config, const Say& say) {
  const absl::StatusOr<std::unique_ptr<Node>> node = Node::Create(config);
  if (node.ok()) {
    return RemovePods(**node, say).ok();
  }
  say(
      fmt::format("pods cannot be taken apart in order ({}), so network plugins and OCI runtimes "
                  "are told nothing",
                  std::string(node.status().message())));
  return false;
}

}  // namespace

absl::StatusOr<std::string> CheckRoot(const config::Config& config, bool layers, bool repair) {
  const store::Paths paths(config.root, config.state);
  const std::string what = fmt::format("check root '{}'", config.root);
  if (!base::PathExists(paths.Database())) {
    return absl::NotFoundError(
        fmt::format("{}: there is no database '{}': berthd has never run on "
                    "this root",
                    what, paths.Database()));
  }
  RETURN_IF_ERROR(base::MakeDirs(paths.state(), 0700));
  const absl::StatusOr<RootLock> lock = RootLock::Take(paths.Lock(), paths.state());
  RETURN_IF_ERROR(base::Annotate(lock.status(), what));
  const absl::StatusOr<check::Report> report = CheckLocked(paths, layers, repair);
  RETURN_IF_ERROR(base::Annotate(report.status(), what));
  return ToJson(*report);
}

absl::Status Wipe(const config::Config& config, WipeScope scope, const Say& say) {
  const store::Paths paths(config.root, config.state);
  const std::string what = fmt::format("wipe root '{}'", config.root);
  if (!base::PathExists(paths.root())) {
    say(fmt::format("there is no root '{}'", paths.root()));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(base::MakeDirs(paths.state(), 0700));
  // Asked for first, so that nothing is begun that another berthd forbids.
  RETURN_IF_ERROR(base::Annotate(RootLock::Take(paths.Lock(), paths.state()).status(), what));
  if (scope != WipeScope::kAll) {
    const absl::StatusOr<std::unique_ptr<Node>> node = Node::Create(config);
    RETURN_IF_ERROR(base::Annotate(node.status(), what));
    RETURN_IF_ERROR(base::Annotate(CheckNothingRuns(**node), what));
    RETURN_IF_ERROR(base::Annotate(RemovePods(**node, say), what));
    if (scope == WipeScope::kImages) {
      RETURN_IF_ERROR(base::Annotate(RemoveImages(**node, say), what));
    }
    (*node)->images().WaitIdle();  // layers go in the background
    return absl::OkStatus();
  }
  const bool in_order = TakeApart(config, say);
  const absl::StatusOr<RootLock> lock = RootLock::Take(paths.Lock(), paths.state());
  RETURN_IF_ERROR(base::Annotate(lock.status(), what));
  if (!in_order) {
    KillRecorded(paths, say);
  }
  RETURN_IF_ERROR(base::Annotate(Empty(paths.state(), ""), what));
  RETURN_IF_ERROR(
      base::Annotate(Empty(paths.root(), paths.Lock().substr(paths.root().size() + 1)), what));
  // Held to the end: who waits for it finds that it is no longer the root's.
  RETURN_IF_ERROR(base::Annotate(base::RemoveFile(paths.Lock()), what));
  say(fmt::format("nothing is left in '{}' and '{}'", paths.root(), paths.state()));
  return absl::OkStatus();
}

}  // namespace berth::app
