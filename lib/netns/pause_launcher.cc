#include "lib/netns/pause_launcher.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/base/user_namespace.h"
#include "lib/model/id_map.h"
#include "lib/netns/sysctl.h"

namespace berth::netns {

namespace {

// The kernel's limit on a node name (__NEW_UTS_LEN).
constexpr size_t kMaxHostname = 64;

// What the child is doing; in memory shared with it, so that an error can name the step, which an
// errno alone does not.
struct Progress {
  enum Step : int { kNone, kHostname, kLoopback, kSysctl, kLabel };
  Step step;
  size_t index;  // of the sysctl
};

class SharedProgress {
 public:
  SharedProgress() {
    void* page = ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    progress_ = page == MAP_FAILED ? nullptr : new (page) Progress{Progress::kNone, 0};
  }
  ~SharedProgress() {
    if (progress_ != nullptr) {
      ::munmap(progress_, sizeof(Progress));
    }
  }
  SharedProgress(const SharedProgress&) = delete;
  SharedProgress& operator=(const SharedProgress&) = delete;
  Progress* get() const { return progress_; }

 private:
  Progress* progress_;
};

// The three steps below run between clone and exec: async-signal-safe calls only. They return 0 or
// an errno.

int SetLoopbackUp() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return errno;
  }
  ifreq request = {};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
  const int error = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? 0 : errno;
  ::close(fd);
  return error;
}

int WriteWhole(const char* path, const char* value, size_t size) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    return errno;
  }
  // One write: the kernel takes a sysctl or a label whole or not at all.
  const ssize_t n = ::write(fd, value, size);
  const int error = n < 0 ? errno : static_cast<size_t>(n) == size ? 0 : EIO;
  ::close(fd);
  return error;
}

int SetUpNamespaces(const PauseSpec& spec, const std::vector<SysctlWrite>& sysctls,
                    Progress* progress) {
  if (!spec.hostname.empty()) {
    progress->step = Progress::kHostname;
    if (::sethostname(spec.hostname.data(), spec.hostname.size()) != 0) {
      return errno;
    }
  }
  if (spec.new_net) {
    progress->step = Progress::kLoopback;
    if (const int error = SetLoopbackUp(); error != 0) {
      return error;
    }
  }
  progress->step = Progress::kSysctl;
  for (progress->index = 0; progress->index < sysctls.size(); ++progress->index) {
    const SysctlWrite& write = sysctls[progress->index];
    if (const int error = WriteWhole(write.path.c_str(), write.value.data(), write.value.size());
        error != 0) {
      return error;
    }
  }
  if (!spec.selinux_label.empty()) {
    progress->step = Progress::kLabel;
    if (const int error = WriteWhole("/proc/thread-self/attr/exec", spec.selinux_label.c_str(),
                                     spec.selinux_label.size() + 1);
        error != 0) {
      return error;
    }
  }
  progress->step = Progress::kNone;
  return 0;
}

std::string DescribeStep(const Progress& progress, const PauseSpec& spec,
                         const std::vector<SysctlWrite>& sysctls) {
  switch (progress.step) {
    case Progress::kHostname:
      return fmt::format("set hostname '{}'", spec.hostname);
    case Progress::kLoopback:
      return "bring up loopback";
    case Progress::kSysctl:
      return progress.index < sysctls.size()
                 ? fmt::format("set sysctl '{}'", sysctls[progress.index].name)
                 : "set sysctls";
    case Progress::kLabel:
      return fmt::format("set SELinux label '{}'", spec.selinux_label);
    case Progress::kNone:
      break;
  }
  return "";
}

absl::Status ValidateHostname(const PauseSpec& spec) {
  if (spec.hostname.empty()) {
    return absl::OkStatus();
  }
  if (!spec.new_uts) {
    return absl::InvalidArgumentError("a hostname needs a uts namespace of the pod's own");
  }
  const bool printable = std::all_of(spec.hostname.begin(), spec.hostname.end(),
                                     [](char c) { return c > ' ' && c <= '~'; });
  if (spec.hostname.size() > kMaxHostname || !printable) {
    return absl::InvalidArgumentError(fmt::format(
        "the hostname must be at most {} printable characters without spaces", kMaxHostname));
  }
  return absl::OkStatus();
}

std::vector<NamespaceType> NewNamespaces(const PauseSpec& spec) {
  std::vector<NamespaceType> types;
  for (const auto& [wanted, type] :
       {std::pair(spec.user.has_value(), NamespaceType::kUser),
        std::pair(spec.new_net, NamespaceType::kNet), std::pair(spec.new_ipc, NamespaceType::kIpc),
        std::pair(spec.new_uts, NamespaceType::kUts),
        std::pair(spec.new_pid, NamespaceType::kPid)}) {
    if (wanted) {
      types.push_back(type);
    }
  }
  return types;
}

base::UserNamespace ToUserNamespace(const IdMaps& maps) {
  return {.uid_map = model::IdMapText(maps.uids),
          .gid_map = model::IdMapText(maps.gids),
          .root_uid = model::IdOutside(maps.uids, 0).value_or(0),
          .root_gid = model::IdOutside(maps.gids, 0).value_or(0)};
}

absl::Status WriteSysctls(const std::vector<SysctlWrite>& sysctls, const PauseSpec& spec) {
  if (sysctls.empty()) {
    return absl::OkStatus();
  }
  std::vector<std::string> pins;
  for (const auto& [is_new, type] : {std::pair(spec.new_net, NamespaceType::kNet),
                                     std::pair(spec.new_ipc, NamespaceType::kIpc)}) {
    if (is_new) {
      pins.push_back(PinPath(spec.pins_dir, type));
    }
  }
  return RunInNamespaces(pins, [&]() -> absl::Status {
    for (const SysctlWrite& write : sysctls) {
      const auto attempt = [&write] {
        return WriteWhole(write.path.c_str(), write.value.data(), write.value.size());
      };
      int error = attempt();
      if (error == EACCES) {
        // Those of IPC belong to root of the node before Linux 6.10, to the pod's since.
        const base::UserNamespace user = ToUserNamespace(*spec.user);
        base::CallAs(user.root_uid, user.root_gid, [&] { return error = attempt(); });
      }
      if (error == ENOENT) {
        return absl::InvalidArgumentError(fmt::format(
            "set sysctl '{}': this kernel has no such sysctl in a user namespace", write.name));
      }
      if (error != 0) {
        return base::ErrnoStatus(error, fmt::format("set sysctl '{}'", write.name));
      }
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<base::Process> StartInNamespaces(base::ProcessRunner& runner,
                                                const std::string& program, const PauseSpec& spec,
                                                const std::vector<SysctlWrite>& sysctls,
                                                int stdin_fd) {
  const SharedProgress progress;
  if (progress.get() == nullptr) {
    return absl::ResourceExhaustedError("no memory to share with the pause process");
  }
  base::ProcessSpec process;
  process.argv = {program};
  process.cgroup_fd = spec.cgroup_fd;
  process.new_session = true;
  process.stdin_fd = stdin_fd;
  for (NamespaceType type : NewNamespaces(spec)) {
    process.clone_flags |= static_cast<uint64_t>(static_cast<unsigned>(CloneFlag(type)));
  }
  if (spec.user) {
    process.user_namespace = ToUserNamespace(*spec.user);
  }
  process.before_exec = [&] { return SetUpNamespaces(spec, sysctls, progress.get()); };
  absl::StatusOr<base::Process> started = runner.Start(process);
  if (!started.ok()) {
    const std::string step = DescribeStep(*progress.get(), spec, sysctls);
    absl::Status status = started.status();
    if (progress.get()->step == Progress::kSysctl && absl::IsNotFound(status)) {
      // The request names it; nothing of the node's is missing.
      status = absl::InvalidArgumentError("this kernel has no such sysctl");
    }
    if (spec.user && step.empty() && absl::IsPermissionDenied(status)) {
      return base::Annotate(status, fmt::format("as user {} of the node, the pod's root, who must "
                                                "be able to reach the program",
                                                process.user_namespace->root_uid));
    }
    return step.empty() ? status : base::Annotate(status, step);
  }
  return started;
}

// Ends a pause that has not been handed out, and reaps it.
void Abandon(base::Process& process) {
  (void)process.Kill(SIGKILL);
  if (absl::StatusOr<base::ExitStatus> exit =
          process.Wait(base::OpContext::WithTimeout(absl::Seconds(10)));
      !exit.ok()) {
    base::Log("netns").warn("pause process does not end pid={}: {}", process.pid(),
                            exit.status().ToString());
  }
}

// Field 22 of /proc/PID/stat, unlike base::ProcessStartTime() also of a process that has ended and
// is not reaped.
std::optional<uint64_t> StartTimeEvenOfZombie(pid_t pid) {
  const absl::StatusOr<std::string> stat = base::ReadFile(fmt::format("/proc/{}/stat", pid), 8192);
  if (!stat.ok()) {
    return std::nullopt;
  }
  size_t at = stat->rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) {
    at = stat->find(' ', at + 1);
  }
  return at == std::string::npos
             ? std::nullopt
             : std::optional(std::strtoull(stat->c_str() + at + 1, nullptr, 10));
}

}  // namespace

absl::StatusOr<Pause> PauseLauncher::Launch(const base::OpContext& ctx, const PauseSpec& spec) {
  RETURN_IF_ERROR(ctx.Check());
  RETURN_IF_ERROR(ValidateHostname(spec));
  ASSIGN_OR_RETURN(std::vector<SysctlWrite> sysctls,
                   PlanSysctls(spec.sysctls, spec.new_net, spec.new_ipc));
  int hold[2];
  if (::pipe2(hold, O_CLOEXEC) != 0) {
    return base::ErrnoStatus(errno, "start pause: make pipe");
  }
  const base::UniqueFd held_end(hold[0]);
  Pause pause;
  pause.hold = base::UniqueFd(hold[1]);
  std::vector<SysctlWrite> from_outside;
  if (spec.user) {
    from_outside.swap(sysctls);
    for (SysctlWrite& write : from_outside) {
      if (write.path.ends_with("/net/ipv4/ping_group_range")) {
        write.value = PingGroupsOutside(write.value, spec.user->gids);
      }
    }
  }
  absl::StatusOr<base::Process> started =
      StartInNamespaces(runner_, pause_path_, spec, sysctls, held_end.get());
  if (!started.ok()) {
    return base::Annotate(started.status(), "start pause");
  }
  pause.process = *std::move(started);
  absl::Status status = SetOomScore(pause.process.pid(), spec.oom_score_adj);
  for (NamespaceType type : NewNamespaces(spec)) {
    if (!status.ok()) {
      break;
    }
    const std::string path = PinPath(spec.pins_dir, type);
    status = PinNamespace(pause.process.pid(), type, path);
    if (status.ok()) {
      pause.pins[type] = path;
    }
  }
  if (status.ok()) {
    status = WriteSysctls(from_outside, spec);
  }
  absl::StatusOr<uint64_t> start_time = base::ProcessStartTime(pause.process.pid());
  status.Update(start_time.status());
  if (!status.ok()) {
    Abandon(pause.process);
    if (const absl::Status undone = UnpinAll(spec.pins_dir); !undone.ok()) {
      base::Log("netns").warn("pins left behind dir={}: {}", spec.pins_dir, undone.ToString());
    }
    return base::Annotate(status, "start pause");
  }
  pause.start_time = *start_time;
  return pause;
}

absl::StatusOr<base::UniqueFd> PauseLauncher::MakeUserNamespace(const base::OpContext& ctx,
                                                                const IdMaps& maps) {
  RETURN_IF_ERROR(ctx.Check());
  base::ProcessSpec spec;
  spec.argv = {pause_path_};
  // Nobody lives in it, so it need not have a root.
  spec.user_namespace = {.uid_map = model::IdMapText(maps.uids),
                         .gid_map = model::IdMapText(maps.gids),
                         .is_root = false};
  absl::StatusOr<base::Process> process = runner_.Start(spec);
  RETURN_IF_ERROR(base::Annotate(process.status(), "make a user namespace"));
  absl::StatusOr<base::UniqueFd> fd =
      OpenNamespace(fmt::format("/proc/{}/ns/user", process->pid()));
  Abandon(*process);
  return fd;
}

absl::Status Pause::Release() {
  const absl::Status written = base::WriteFd(hold.get(), "!");
  hold.Reset();
  return base::Annotate(written, fmt::format("release pause {}", process.pid()));
}

absl::Status PauseLauncher::SetOomScore(pid_t pid, int wanted) {
  const std::string path = fmt::format("/proc/{}/oom_score_adj", pid);
  const absl::StatusOr<base::UniqueFd> fd = base::OpenFile(path, O_WRONLY);
  RETURN_IF_ERROR(fd.status());
  const absl::Status written = base::WriteFd(fd->get(), std::to_string(wanted));
  if (!absl::IsPermissionDenied(written)) {
    return base::Annotate(written, fmt::format("set oom_score_adj {}", wanted));
  }
  // Lowering it needs CAP_SYS_RESOURCE. The pause keeps what it inherited, the daemon's own: the
  // lowest it can have.
  if (!oom_clamp_logged_.exchange(true)) {
    base::Log("netns").warn(
        "pauses keep the daemon's oom_score_adj: CAP_SYS_RESOURCE is missing wanted={}", wanted);
  }
  return absl::OkStatus();
}

absl::StatusOr<base::UniqueFd> OpenProcess(pid_t pid, uint64_t start_time) {
  if (pid <= 0) {
    return absl::NotFoundError(fmt::format("no process {}", pid));
  }
  base::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    // EINVAL (some kernels): it has ended, and others are in the session it led.
    if (errno == ESRCH || errno == EINVAL) {
      return absl::NotFoundError(fmt::format("process {} has ended", pid));
    }
    return base::ErrnoStatus(errno, fmt::format("open process {}", pid));
  }
  // Read after the open: if the pid was recycled in between, the time read is the other process's
  // and differs.
  const absl::StatusOr<uint64_t> now = base::ProcessStartTime(pid);
  if (!now.ok() && !absl::IsNotFound(now.status())) {
    return now.status();
  }
  if (!now.ok() || *now != start_time) {
    return absl::NotFoundError(fmt::format("process {} has ended", pid));
  }
  return pidfd;
}

absl::Status StopPause(const base::OpContext& ctx, pid_t pid, uint64_t start_time) {
  base::UniqueFd pidfd(pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1);
  // A zombie counts as found: when it is ours, it is still to be reaped.
  if (!pidfd || StartTimeEvenOfZombie(pid) != start_time) {
    return absl::OkStatus();
  }
  const base::Process process(pid, std::move(pidfd));
  RETURN_IF_ERROR(process.Kill(SIGKILL));
  while (true) {
    pollfd fd = {process.pidfd(), POLLIN, 0};
    if (::poll(&fd, 1, ctx.PollMillis()) > 0) {
      siginfo_t exit = {};
      (void)::waitid(P_PIDFD, static_cast<id_t>(process.pidfd()), &exit, WEXITED | WNOHANG);
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(base::Annotate(ctx.Check(), fmt::format("stop pause process {}", pid)));
  }
}

}  // namespace berth::netns
