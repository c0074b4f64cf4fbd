#include "lib/runtime/monitor_client.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/monitor_protocol/protocol.h"
#include "lib/runtime/monitor_packets.h"
#include "lib/runtime/oci_runtime.h"

namespace berth::runtime {
namespace {

using monitor_protocol::CreateFailedPacket;
using monitor_protocol::PacketType;

// For a monitor that has said that it ends.
constexpr absl::Duration kEndTimeout = absl::Seconds(2);

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::vector<std::string> EnvironmentOf(const MonitorSpec& spec) {
  return WithScratch(spec.env.empty() ? RuntimeEnvironment() : spec.env, spec.bundle);
}

std::vector<std::string> MonitorArguments(const std::string& program, const MonitorSpec& spec) {
  std::vector<std::string> argv = {program,          "--id",        spec.id,
                                   "--bundle",       spec.bundle,   "--socket",
                                   spec.socket_path, "--exit-file", spec.exit_path};
  const auto add = [&argv](const char* name, const std::string& value) {
    argv.push_back(name);
    argv.push_back(value);
  };
  if (!spec.log_path.empty()) {
    add("--log", spec.log_path);
  }
  if (spec.log_max_bytes > 0) {
    add("--log-max-size", fmt::format("{}", spec.log_max_bytes));
  }
  if (!spec.journal_path.empty()) {
    add("--journal", spec.journal_path);
    add("--name", spec.name);
  }
  if (spec.tty) {
    argv.push_back("--tty");
    add("--tty-height", fmt::format("{}", spec.tty_height));
    add("--tty-width", fmt::format("{}", spec.tty_width));
  }
  if (spec.open_stdin) {
    argv.push_back("--stdin");
  }
  if (spec.stdin_once) {
    argv.push_back("--stdin-once");
  }
  if (spec.no_pivot) {
    argv.push_back("--no-pivot");
  }
  if (spec.stdio_owner != base::Owner()) {
    add("--stdio-uid", fmt::format("{}", spec.stdio_owner.uid));
    add("--stdio-gid", fmt::format("{}", spec.stdio_owner.gid));
  }
  argv.push_back("--");
  argv.insert(argv.end(), spec.runtime.begin(), spec.runtime.end());
  return argv;
}

absl::Status CreateError(const Packet& packet, const std::string& id, const std::string& runtime) {
  CreateFailedPacket failed;
  if (!packet.Get(failed)) {
    return absl::DataLossError("the monitor's report is too short");
  }
  const std::string text(packet.After(sizeof(failed)).substr(0, failed.text_size));
  if (failed.exit_code >= 0) {
    return RuntimeError(runtime, "create", id, text, failed.exit_code);
  }
  // The monitor's own words, of files and sockets.
  return absl::UnavailableError(fmt::format("create container '{}': {}", id, CleanMessage(text)));
}

// Waits for the end of file, by which everything of the monitor is gone.
void AwaitEnd(const base::OpContext& ctx, int fd) {
  while (true) {
    absl::StatusOr<Packet> packet = AwaitPacket(ctx, fd);
    if (!packet.ok() || packet->end()) {
      return;
    }
  }
}

}  // namespace

Monitors::Monitors(base::EventLoop& loop, base::ProcessRunner& runner, std::string monitor_path,
                   OnGone on_gone, OnOom on_oom)
    : loop_(loop),
      runner_(runner),
      monitor_path_(std::move(monitor_path)),
      on_gone_(std::move(on_gone)),
      on_oom_(std::move(on_oom)) {}

Monitors::~Monitors() {
  std::map<std::string, Watched> watched;
  std::map<int, base::Process> children;
  {
    base::MutexLock lock(mu_);
    watched.swap(watched_);
    children.swap(children_);
  }
  for (const auto& [id, monitor] : watched) {
    loop_.Unwatch(monitor.fd.get());
  }
  for (const auto& [pidfd, child] : children) {
    loop_.Unwatch(pidfd);
  }
}

absl::StatusOr<MonitorState> Monitors::Spawn(const base::OpContext& ctx, const MonitorSpec& spec) {
  const std::string what = fmt::format("start monitor of container '{}'", spec.id);
  BERTH_CHECK(!spec.runtime.empty());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return base::ErrnoStatus(errno, what);
  }
  base::UniqueFd fd(ends[0]);
  base::UniqueFd monitor_fd(ends[1]);

  base::ProcessSpec process;
  process.argv = MonitorArguments(monitor_path_, spec);
  process.env = EnvironmentOf(spec);
  process.extra_fds = {monitor_fd.get()};
  process.cgroup_fd = spec.cgroup_fd;
  absl::StatusOr<base::Process> child = runner_.Start(process);
  if (!child.ok()) {
    return absl::UnavailableError(base::Annotate(child.status(), what).message());
  }
  monitor_fd.Reset();
  Reap(*std::move(child));

  absl::StatusOr<MonitorState> state =
      AwaitCreated(ctx, spec.id, BaseName(spec.runtime[0]), fd.get());
  if (!state.ok()) {
    if (!ctx.Check().ok()) {
      CancelCreate(spec, fd.get());
    }
    return state.status();
  }
  if (absl::Status status = Watch(spec.id, fd, state->oom_killed); !status.ok()) {
    CancelCreate(spec, fd.get());
    return base::Annotate(status, what);
  }
  return state;
}

absl::StatusOr<MonitorState> Monitors::AwaitCreated(const base::OpContext& ctx,
                                                    const std::string& id,
                                                    const std::string& runtime, int fd) {
  const std::string what = fmt::format("create container '{}'", id);
  while (true) {
    absl::StatusOr<Packet> packet = AwaitPacket(ctx, fd);
    if (!packet.ok()) {
      return base::Annotate(packet.status(), what);
    }
    if (packet->end()) {
      return absl::InternalError(fmt::format("{}: its monitor ended unexpectedly", what));
    }
    if (packet->type() == PacketType::kCreateFailed) {
      AwaitEnd(base::OpContext::WithTimeout(kEndTimeout), fd);
      return CreateError(*packet, id, runtime);
    }
    if (packet->type() == PacketType::kAnswer) {
      // To kCancelCreate; when it came too late, ask for what there is now.
      monitor_protocol::AnswerPacket answer;
      if (packet->Get(answer) && answer.error != 0) {
        RETURN_IF_ERROR(SendRequest(fd, PacketType::kGetState));
      }
      continue;
    }
    absl::StatusOr<MonitorState> state = ParseState(*packet);
    if (!state.ok()) {
      return base::Annotate(state.status(), what);
    }
    if (state->phase != MonitorState::Phase::kCreating) {
      return state;
    }
  }
}

void Monitors::CancelCreate(const MonitorSpec& spec, int fd) {
  const base::OpContext ctx = base::OpContext::WithTimeout(kCancelTimeout);
  (void)SendRequest(fd, PacketType::kCancelCreate);
  const absl::StatusOr<MonitorState> state =
      AwaitCreated(ctx, spec.id, BaseName(spec.runtime[0]), fd);
  if (state.ok()) {
    // It is created already; the monitor ends with the container.
    base::ProcessSpec process;
    process.argv = spec.runtime;
    process.argv.insert(process.argv.end(), {"--log", "/dev/null", "delete", "--force", spec.id});
    process.env = EnvironmentOf(spec);
    (void)runner_.Run(ctx, process, {}, base::RunLimits());
    AwaitEnd(ctx, fd);
  }
  if (!ctx.Check().ok()) {
    base::Log("runtime").warn(
        "cancelled create did not end, leaving it to its monitor container={}", spec.id);
  }
}

absl::StatusOr<MonitorState> Monitors::Adopt(const base::OpContext& ctx, const std::string& id,
                                             const std::string& socket_path) {
  ASSIGN_OR_RETURN(base::UniqueFd fd, ConnectMonitor(ctx, socket_path));
  RETURN_IF_ERROR(SendRequest(fd.get(), PacketType::kSubscribe));
  ASSIGN_OR_RETURN(const MonitorState state, AwaitCreated(ctx, id, "runtime", fd.get()));
  RETURN_IF_ERROR(Watch(id, fd, state.oom_killed));
  return state;
}

absl::Status Monitors::Watch(const std::string& id, base::UniqueFd& fd, bool oom_told) {
  Forget(id);
  const int raw = fd.get();
  uint64_t generation;
  {
    base::MutexLock lock(mu_);
    generation = next_generation_++;
    watched_[id] = {std::move(fd), generation, oom_told};
  }
  absl::Status status =
      loop_.Watch(raw, EPOLLIN, [this, id, generation](uint32_t) { OnReadable(id, generation); });
  if (!status.ok()) {
    base::MutexLock lock(mu_);
    fd = std::move(watched_[id].fd);
    watched_.erase(id);
  }
  return status;
}

void Monitors::Forget(const std::string& id) {
  Watched monitor;
  {
    base::MutexLock lock(mu_);
    auto it = watched_.find(id);
    if (it == watched_.end()) {
      return;
    }
    monitor = std::move(it->second);
    watched_.erase(it);
  }
  loop_.Unwatch(monitor.fd.get());
}

void Monitors::OnReadable(const std::string& id, uint64_t generation) {
  bool gone = false;
  bool oom = false;
  bool loss = false;
  base::UniqueFd ended;
  {
    base::MutexLock lock(mu_);
    auto it = watched_.find(id);
    if (it == watched_.end() || it->second.generation != generation) {
      return;
    }
    while (!gone) {
      absl::StatusOr<Packet> packet = ReceivePacket(it->second.fd.get());
      if (absl::IsUnavailable(packet.status())) {
        break;
      }
      // What is not of the protocol cannot be followed any more; the monitor counts as gone.
      gone = !packet.ok() || packet->end();
      if (!gone && packet->type() == PacketType::kState) {
        absl::StatusOr<MonitorState> state = ParseState(*packet);
        oom = oom || (state.ok() && state->oom_killed && !it->second.oom_told);
        loss = loss || (state.ok() && state->lost_log_bytes > 0 && !it->second.loss_told);
      }
    }
    it->second.oom_told = it->second.oom_told || oom;
    it->second.loss_told = it->second.loss_told || loss;
    if (gone) {
      ended = std::move(it->second.fd);
      watched_.erase(it);
    }
  }
  if (loss) {
    base::Log("runtime").warn(
        "a container's log cannot be written, its output is lost; is the disk full? container={}",
        id);
  }
  if (oom && on_oom_) {
    on_oom_(id);
  }
  if (gone) {
    loop_.Unwatch(ended.get());
    on_gone_(id);
  }
}

void Monitors::Reap(base::Process process) {
  const int pidfd = process.pidfd();
  {
    base::MutexLock lock(mu_);
    children_[pidfd] = std::move(process);
  }
  const absl::Status status =
      loop_.Watch(pidfd, EPOLLIN, [this, pidfd](uint32_t) { OnChildEnd(pidfd); });
  if (!status.ok()) {
    base::Log("runtime").warn("a child will not be reaped error='{}'",
                              std::string(status.message()));
  }
}

void Monitors::OnChildEnd(int pidfd) {
  base::Process process;
  {
    base::MutexLock lock(mu_);
    auto it = children_.find(pidfd);
    if (it == children_.end()) {
      return;
    }
    process = std::move(it->second);
    children_.erase(it);
  }
  loop_.Unwatch(pidfd);
  // The pidfd is readable, so this does not block.
  (void)process.Wait(base::OpContext::Background());
}

}  // namespace berth::runtime
