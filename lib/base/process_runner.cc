#include "lib/base/process_runner.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/process_child.h"
#include "lib/base/status.h"
#include "lib/base/user_namespace.h"

namespace berth::base {

namespace {

// What RaiseOpenFileLimit found. Set once, before there are children.
rlimit g_original_open_files;
bool g_open_files_raised = false;

absl::Status SetNonblocking(int fd) {
  if (::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, "make pipe non-blocking");
  }
  return absl::OkStatus();
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) {
    return ErrnoStatus(errno, "make pipe");
  }
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// Reads what is there; closes fd at its end. Bytes past `limit` are dropped.
void Drain(UniqueFd& fd, std::string& into, size_t limit, bool& truncated) {
  char buffer[16384];
  while (fd) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof(buffer));
    if (n > 0) {
      const size_t room = limit - std::min(limit, into.size());
      const size_t take = std::min(room, static_cast<size_t>(n));
      into.append(buffer, take);
      truncated |= take < static_cast<size_t>(n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      fd.Reset();
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

// write(2) to a pipe whose reader may be gone: EPIPE, whatever the process does with SIGPIPE.
ssize_t WriteToPipe(int fd, std::string_view data) {
  sigset_t pipe;
  sigset_t pending;
  sigset_t old;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  sigemptyset(&pending);
  ::sigpending(&pending);
  ::pthread_sigmask(SIG_BLOCK, &pipe, &old);
  const ssize_t n = ::write(fd, data.data(), data.size());
  const int error = errno;
  if (n < 0 && error == EPIPE && sigismember(&pending, SIGPIPE) == 0) {
    const timespec at_once = {0, 0};
    (void)::sigtimedwait(&pipe, nullptr, &at_once);  // the one that this write raised
  }
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  errno = error;
  return n;
}

// Carries a child's three streams until both outputs are closed or the process has ended.
absl::Status Pump(const OpContext& ctx, Process& process, UniqueFd in, std::string_view input,
                  UniqueFd out, UniqueFd err, const RunLimits& limits, RunResult& result) {
  while (true) {
    if (input.empty()) {
      in.Reset();
    }
    pollfd fds[4] = {{process.pidfd(), POLLIN, 0},
                     {out.get(), POLLIN, 0},
                     {err.get(), POLLIN, 0},
                     {in.get(), POLLOUT, 0}};
    ::poll(fds, 4, ctx.PollMillis());
    if (in && fds[3].revents != 0) {
      const ssize_t n = WriteToPipe(in.get(), input);
      if (n > 0) {
        input.remove_prefix(static_cast<size_t>(n));
      } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        in.Reset();  // the child does not want its input: not our error
      }
    }
    Drain(out, result.out, limits.max_stdout, result.truncated);
    Drain(err, result.err, limits.max_stderr, result.truncated);
    // Once the process has ended, what it wrote is in the pipes; a grandchild holding them is not
    // waited for.
    if ((fds[0].revents & POLLIN) != 0) {
      Drain(out, result.out, limits.max_stdout, result.truncated);
      Drain(err, result.err, limits.max_stderr, result.truncated);
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(ctx.Check());
  }
}

}  // namespace

absl::StatusOr<ExitStatus> Process::Wait(const OpContext& ctx) {
  while (true) {
    pollfd fd = {pidfd_.get(), POLLIN, 0};
    const int ready = ::poll(&fd, 1, ctx.PollMillis());
    if (ready > 0) {
      siginfo_t info = {};
      if (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0) {
        if (errno == EINTR) {
          continue;
        }
        return ErrnoStatus(errno, fmt::format("wait for process {}", pid_));
      }
      ExitStatus exit;
      (info.si_code == CLD_EXITED ? exit.code : exit.signal) = info.si_status;
      return exit;
    }
    RETURN_IF_ERROR(ctx.Check());
  }
}

absl::Status Process::Kill(int signal) const {
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) != 0 && errno != ESRCH) {
    return ErrnoStatus(errno, fmt::format("signal {} to process {}", signal, pid_));
  }
  return absl::OkStatus();
}

absl::StatusOr<Process> SystemProcessRunner::Start(const ProcessSpec& spec) {
  BERTH_CHECK(!spec.argv.empty() && spec.extra_fds.size() < 32);
  ChildPlan plan;
  plan.spec = &spec;
  plan.open_files = g_open_files_raised ? &g_original_open_files : nullptr;
  for (const std::string& arg : spec.argv) {
    plan.argv.push_back(const_cast<char*>(arg.c_str()));
  }
  plan.argv.push_back(nullptr);
  for (const std::string& variable : spec.env) {
    plan.env.push_back(const_cast<char*>(variable.c_str()));
  }
  plan.env.push_back(nullptr);
  UniqueFd null;
  for (int fd : {spec.stdin_fd, spec.stdout_fd, spec.stderr_fd}) {
    if (fd < 0 && !null) {
      ASSIGN_OR_RETURN(null, OpenFile("/dev/null", O_RDWR));
    }
    plan.fds.push_back(fd < 0 ? null.get() : fd);
  }
  plan.fds.insert(plan.fds.end(), spec.extra_fds.begin(), spec.extra_fds.end());
  ASSIGN_OR_RETURN(Pipe report, MakePipe());
  plan.report_fd = report.write.get();
  Pipe maps;
  if (spec.user_namespace) {
    ASSIGN_OR_RETURN(maps, MakePipe());
    plan.maps_read_fd = maps.read.get();
    plan.maps_write_fd = maps.write.get();
  }

  int pidfd = -1;
  clone_args args = {};
  args.flags = CLONE_PIDFD | spec.clone_flags;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (spec.cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(spec.cgroup_fd);
  }
  // All signals are blocked over the clone, so that no handler of ours runs in the child.
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &old);
  if (spec.user_namespace) {
    args.flags |= CLONE_NEWUSER;
  }
  const long pid = spec.user_namespace
                       ? CallAs(spec.user_namespace->root_uid, spec.user_namespace->root_gid,
                                [&] { return CloneChild(args, plan); })
                   : IsPlain(spec) ? CloneVfork(&pidfd, plan)
                                   : CloneChild(args, plan);
  const int clone_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (pid < 0) {
    return ErrnoStatus(clone_error, fmt::format("start '{}'", spec.argv[0]));
  }
  Process process(static_cast<pid_t>(pid), UniqueFd(pidfd));
  report.write.Reset();
  absl::Status mapped;
  if (spec.user_namespace) {
    mapped = WriteIdMaps(process.pid(), spec.user_namespace->uid_map, spec.user_namespace->gid_map);
    if (mapped.ok()) {
      (void)WriteToPipe(maps.write.get(), "!");  // a child that is gone says so below
    }
    maps.write.Reset();
  }
  int error = 0;
  ssize_t n;
  do {
    n = ::read(report.read.get(), &error, sizeof(error));
  } while (n < 0 && errno == EINTR);
  if (n == sizeof(error)) {
    absl::StatusOr<ExitStatus> reaped = process.Wait(OpContext::Background());
    RETURN_IF_ERROR(Annotate(mapped, fmt::format("start '{}'", spec.argv[0])));
    return ErrnoStatus(error, fmt::format("start '{}'", spec.argv[0]));
  }
  return process;
}

absl::StatusOr<RunResult> SystemProcessRunner::Run(const OpContext& ctx, const ProcessSpec& spec,
                                                   std::string_view input, RunLimits limits) {
  ASSIGN_OR_RETURN(Pipe in, MakePipe());
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(Pipe err, MakePipe());
  ProcessSpec piped = spec;
  piped.new_session = true;
  piped.stdin_fd = in.read.get();
  piped.stdout_fd = out.write.get();
  piped.stderr_fd = err.write.get();
  RETURN_IF_ERROR(SetNonblocking(in.write.get()));
  RETURN_IF_ERROR(SetNonblocking(out.read.get()));
  RETURN_IF_ERROR(SetNonblocking(err.read.get()));
  ASSIGN_OR_RETURN(Process process, Start(piped));
  in.read.Reset();
  out.write.Reset();
  err.write.Reset();

  RunResult result;
  const absl::Status pumped = Pump(ctx, process, std::move(in.write), input, std::move(out.read),
                                   std::move(err.read), limits, result);
  if (!pumped.ok()) {
    // With what it started: a session of its own makes them one group, and it is not reaped yet, so
    // the number is still its.
    ::kill(-process.pid(), SIGKILL);
    (void)process.Kill(SIGKILL);
  }
  ASSIGN_OR_RETURN(result.exit, process.Wait(OpContext::Background()));
  RETURN_IF_ERROR(Annotate(pumped, fmt::format("run '{}'", spec.argv[0])));
  return result;
}

absl::Status RaiseOpenFileLimit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return ErrnoStatus(errno, "read the limit of open files");
  }
  g_original_open_files = limit;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return ErrnoStatus(errno, "raise the limit of open files");
  }
  g_open_files_raised = true;
  return absl::OkStatus();
}

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (::access(name.c_str(), X_OK) != 0) {
      return ErrnoStatus(errno, fmt::format("find program '{}'", name));
    }
    return name;
  }
  const char* variable = ::getenv("PATH");
  const std::string path = variable != nullptr
                               ? variable
                               : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const std::string candidate = path.substr(begin, end - begin) + "/" + name;
    struct stat st;
    if (candidate[0] == '/' && ::stat(candidate.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
        ::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    begin = end + 1;
  }
  return absl::NotFoundError(fmt::format("find program '{}': not in PATH '{}'", name, path));
}

absl::StatusOr<uint64_t> ProcessStartTime(pid_t pid) {
  ASSIGN_OR_RETURN(std::string stat, ReadFile(fmt::format("/proc/{}/stat", pid), 8192));
  // The name, field 2, may hold anything but ends at the last ')'.
  size_t at = stat.rfind(')');
  if (at == std::string::npos || at + 2 >= stat.size()) {
    return absl::InternalError(fmt::format("/proc/{}/stat is not as proc(5) says", pid));
  }
  at += 2;
  const char state = stat[at];
  if (state == 'Z' || state == 'X') {
    return absl::NotFoundError(fmt::format("process {} has ended", pid));
  }
  for (int field = 3; field < 22; ++field) {
    at = stat.find(' ', at);
    if (at == std::string::npos) {
      return absl::InternalError(fmt::format("/proc/{}/stat is not as proc(5) says", pid));
    }
    ++at;
  }
  return std::strtoull(stat.c_str() + at, nullptr, 10);
}

}  // namespace berth::base
