// berth-monitor exec: one command in a running container.
//
// Who I am: started by berthd (lib/runtime/exec_sync.cc) for one synchronous exec, with the
// command's standard files as mine and one end of a socket pair at kStartFd.
//
// Why I exist: `<runtime> exec --detach` ends as soon as the command runs. The command is then an
// orphan, and the kernel gives it to the nearest subreaper, which is me; so I can wait for it, and
// nobody else need reap what it leaves behind.
//
// What ends me: the command's end, which I report as an ExecReportPacket; or the closing of the
// socket's other end, by which berthd says that the time is up, or has died: I kill the command,
// all below it and all of its session.
#include "cmd/monitor/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/monitor/process.h"
#include "cmd/monitor/text.h"
#include "lib/monitor_protocol/protocol.h"

namespace berth::monitor {
namespace {

using monitor_protocol::ExecOutcome;
using monitor_protocol::ExecReportPacket;
using monitor_protocol::kStartFd;

constexpr int kReapMillis = 5000;

class Exec {
 public:
  explicit Exec(const Options& options) : options_(options) {}

  int Run() {
    BecomeKeeper();
    fcntl(kStartFd, F_SETFD, FD_CLOEXEC);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    // Inherited by the runtime and its command, unless its cpuset takes it back; see OnRuntimeEnd.
    if (options_.cpu >= 0) {
      BindToCpu(0, options_.cpu);
    }
    // With crun a command has its caller's score, with runc that of the container's creation,
    // whatever `process` says; see OnRuntimeEnd.
    if (options_.oom_score_adj != nullptr) {
      SetChildOomScore(options_.oom_score_adj);
    }
    const int signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    runtime_ = Spawn(options_.runtime, {0, 1, 2});
    if (runtime_ < 0) {
      return Report(ExecOutcome::kFailed, -runtime_, 0);
    }
    // The other ends must see the end of file when the command closes its own.
    close(0);
    close(1);
    close(2);

    while (!reported_) {
      pollfd entries[2] = {{signal_fd, POLLIN, 0}, {kStartFd, POLLIN, 0}};
      poll(entries, 2, -1);
      if (entries[1].revents != 0) {
        KillDescendants(Session());
        ReapAll(kReapMillis);
        return 1;
      }
      signalfd_siginfo info;
      while (read(signal_fd, &info, sizeof(info)) > 0) {
      }
      Reap();
    }
    return 0;
  }

 private:
  // Both runtimes give the command a session of its own; what was started in it is found by it also
  // after its parent has ended. 0: there is no command yet, or it is in berthd's.
  pid_t Session() const {
    const pid_t session = command_ > 0 ? getsid(command_) : 0;
    return session != getsid(0) ? session : 0;
  }

  void Reap() {
    int status;
    // The runtime first: only its end tells which of the others is the command.
    if (!runtime_ended_) {
      if (waitpid(runtime_, &status, WNOHANG) != runtime_) {
        return;
      }
      runtime_ended_ = true;
      OnRuntimeEnd(status);
    }
    pid_t pid;
    while (!reported_ && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid == command_) {
        Report(ExecOutcome::kExited, WIFEXITED(status) ? WEXITSTATUS(status) : 0,
               WIFSIGNALED(status) ? WTERMSIG(status) : 0);
      }
    }
    if (!reported_ && pid < 0 && errno == ECHILD) {
      Report(ExecOutcome::kFailed, ECHILD, 0);
    }
  }

  void OnRuntimeEnd(int status) {
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      KillDescendants(0);
      ReapAll(kReapMillis);
      Report(ExecOutcome::kRuntimeFailed,
             WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), 0);
      return;
    }
    char text[32];
    const int size = ReadSmallFile(options_.pid_file, text, sizeof(text));
    const int error = errno;
    unlink(options_.pid_file);
    command_ = size > 0 ? static_cast<pid_t>(ParseNumber(text)) : -1;
    if (command_ <= 0) {
      KillDescendants(0);
      Report(ExecOutcome::kFailed, size < 0 ? error : EINVAL, 0);
      return;
    }
    if (options_.oom_score_adj != nullptr) {
      SetOomScore(command_, options_.oom_score_adj);
    }
    // Kernels before 6.2 give a process that enters a cpuset all of its CPUs.
    if (options_.cpu >= 0) {
      BindToCpu(command_, options_.cpu);
    }
  }

  int Report(ExecOutcome outcome, int code, int signal) {
    const ExecReportPacket packet = {
        {monitor_protocol::kVersion, monitor_protocol::PacketType::kExecReport},
        outcome,
        code,
        signal};
    send(kStartFd, &packet, sizeof(packet), MSG_NOSIGNAL);
    reported_ = true;
    return 0;
  }

  const Options& options_;
  pid_t runtime_ = 0;
  bool runtime_ended_ = false;
  pid_t command_ = 0;
  bool reported_ = false;
};

}  // namespace

int RunExec(const Options& options) { return Exec(options).Run(); }

}  // namespace berth::monitor
