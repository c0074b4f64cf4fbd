// berth-monitor exec: one command in a running container.
//
// Who I am: started by berthd (lib/runtime/exec_call.cc) for one exec, with the command's standard
// files as mine and one end of a socket pair at kStartFd.
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
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/monitor/process.h"
#include "cmd/monitor/text.h"
#include "cmd/monitor/unix_socket.h"
#include "lib/monitor_protocol/protocol.h"

namespace berth::monitor {
namespace {

using monitor_protocol::ExecOutcome;
using monitor_protocol::ExecReportPacket;
using monitor_protocol::Header;
using monitor_protocol::kExecDrainFd;
using monitor_protocol::kStartFd;
using monitor_protocol::kVersion;
using monitor_protocol::PacketType;

constexpr int kReapMillis = 5000;
constexpr int kOwnArguments = 4;

class Exec {
 public:
  explicit Exec(const Options& options) : options_(options) {}

  int Run() {
    BecomeKeeper();
    fcntl(kStartFd, F_SETFD, FD_CLOEXEC);
    if (options_.drain) {
      fcntl(kExecDrainFd, F_SETFD, FD_CLOEXEC);
    }
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
    signal_fd_ = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (const int error = Start(); error != 0) {
      return Report(ExecOutcome::kFailed, error, 0);
    }
    while (!reported_) {
      if (!Turn()) {
        KillDescendants(Session());
        ReapAll(kReapMillis);
        RemoveConsole();
        RemovePidFile();
        return 1;
      }
    }
    return 0;
  }

 private:
  // 0 or an errno.
  int Start() {
    char* argv[kMaxRuntimeArguments + kOwnArguments];
    int count = 0;
    for (; count < options_.runtime_count; count++) {
      argv[count] = options_.runtime[count];
    }
    char console[512];
    if (options_.tty) {
      TextBuffer<4096> path;
      path.Add(options_.pid_file).Add(kConsoleSuffix);
      if (const int error =
              ListenUnix(path.c_str(), SOCK_STREAM, &console_fd_, console, sizeof(console));
          error != 0) {
        return error;
      }
      argv[count++] = const_cast<char*>("--console-socket");
      argv[count++] = console;
    }
    argv[count++] = const_cast<char*>(options_.id);
    argv[count] = nullptr;
    runtime_ = Spawn(argv, {0, 1, 2});
    // The other ends of a stream must see the end of file when the command closes its own. Who
    // waits for this process is better not woken for it.
    if (options_.report_start) {
      close(0);
      close(1);
      close(2);
    }
    return runtime_ < 0 ? -runtime_ : 0;
  }

  // False: the other side has gone.
  bool Turn() {
    pollfd entries[3] = {
        {signal_fd_, POLLIN, 0}, {kStartFd, POLLIN, 0}, {drains_ ? kExecDrainFd : -1, POLLIN, 0}};
    poll(entries, 3, -1);
    if (entries[1].revents != 0) {
      return false;
    }
    if (entries[2].revents != 0) {
      Drain();
    }
    signalfd_siginfo info;
    while (read(signal_fd_, &info, sizeof(info)) > 0) {
    }
    Reap();
    return true;
  }

  void Drain() {
    char dropped[8192];
    const ssize_t got = read(kExecDrainFd, dropped, sizeof(dropped));
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
      drains_ = false;
    }
  }

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
      RemovePidFile();
      // Crun prints what is wrong with a command into the command's terminal.
      Report(ExecOutcome::kRuntimeFailed,
             WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), 0,
             options_.tty ? ReceiveTerminal(console_fd_) : -1);
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
    if (options_.report_start) {
      ReportStart();
    }
    drains_ = options_.drain;
  }

  // With the terminal, which the runtime has sent before it ended.
  void ReportStart() {
    const int master = options_.tty ? ReceiveTerminal(console_fd_) : -1;
    RemoveConsole();
    if (options_.tty && master < 0) {
      KillDescendants(Session());
      Report(ExecOutcome::kFailed, ENOTTY, 0);
      return;
    }
    if (options_.tty) {
      HoldTerminal(master);  // until the end: no hangup before
    }
    const Header packet = {kVersion, PacketType::kExecStarted};
    SendWithFd(kStartFd, &packet, sizeof(packet), master);
    close(master);
  }

  // Also the one beside it, which runc renames when it is written.
  void RemovePidFile() {
    const char* name = strrchr(options_.pid_file, '/');
    TextBuffer<4096> hidden;
    hidden.Add(options_.pid_file, static_cast<size_t>(name - options_.pid_file))
        .Add("/.")
        .Add(name + 1);
    unlink(options_.pid_file);
    unlink(hidden.c_str());
  }

  void RemoveConsole() {
    if (console_fd_ >= 0) {
      UnlinkBeside(options_.pid_file, kConsoleSuffix);
      close(console_fd_);
      console_fd_ = -1;
    }
  }

  int Report(ExecOutcome outcome, int code, int signal, int terminal = -1) {
    const ExecReportPacket packet = {{kVersion, PacketType::kExecReport}, outcome, code, signal};
    RemoveConsole();
    SendWithFd(kStartFd, &packet, sizeof(packet), terminal);
    reported_ = true;
    return 0;
  }

  static constexpr char kConsoleSuffix[] = ".tty";

  const Options& options_;
  int signal_fd_ = -1;
  int console_fd_ = -1;
  bool drains_ = false;
  pid_t runtime_ = 0;
  bool runtime_ended_ = false;
  pid_t command_ = 0;
  bool reported_ = false;
};

}  // namespace

int RunExec(const Options& options) { return Exec(options).Run(); }

}  // namespace berth::monitor
