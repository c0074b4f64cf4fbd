#include "cmd/monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd/monitor/clients.h"
#include "cmd/monitor/exit_record.h"
#include "cmd/monitor/journal.h"
#include "cmd/monitor/log_writer.h"
#include "cmd/monitor/oom_watch.h"
#include "cmd/monitor/process.h"
#include "cmd/monitor/stdio.h"
#include "cmd/monitor/text.h"
#include "cmd/monitor/unix_socket.h"
#include "lib/monitor_protocol/protocol.h"

namespace berth::monitor {
namespace {

using monitor_protocol::CreateFailedPacket;
using monitor_protocol::ExitRecord;
using monitor_protocol::kVersion;
using monitor_protocol::PacketType;
using monitor_protocol::Phase;
using monitor_protocol::StatePacket;

constexpr int kDeleteMillis = 10000;
constexpr int kRecordTries = 100;
// When the end of the first process cannot be known: the shell's code for "out of range".
constexpr int kUnknownExitCode = 255;

// The arguments of one call of the runtime. With a log of its own the runtime prints errors only,
// as plain text.
class RuntimeCall {
 public:
  explicit RuntimeCall(const Options& options) {
    for (int i = 0; i < options.runtime_count; i++) {
      Add(options.runtime[i]);
    }
    Add("--log").Add("/dev/null");
  }
  RuntimeCall& Add(const char* argument) {
    argv_[count_++] = const_cast<char*>(argument);
    argv_[count_] = nullptr;
    return *this;
  }
  char* const* argv() const { return argv_; }

 private:
  static constexpr int kOwnArguments = 16;  // more than the longest call has

  char* argv_[kMaxRuntimeArguments + kOwnArguments];
  int count_ = 0;
};

class Monitor final : public Requests {
 public:
  explicit Monitor(const Options& options)
      : options_(options), clients_(*this), stdio_(options, log_, clients_) {}

  int Run();

  StatePacket State() override;
  int ReopenLog() override;
  int Resize(uint16_t height, uint16_t width) override;
  int CloseInput() override { return stdio_.CloseInput(); }
  int CancelCreate() override;
  bool InputReady() override { return stdio_.input_ready(); }
  void Input(const char* data, size_t size) override { stdio_.QueueInput(data, size); }
  void InputClientEnded() override;

 private:
  bool Prepare();
  bool StartCreate();
  void Turn();
  void Reap();
  void OnCreateEnd(int status);
  void OnContainerEnd(int status);
  // Undoes what there may be of the container and tells why. exit_code: see CreateFailedPacket.
  void Fail(int exit_code, const char* text, size_t size);
  void FailWithError(const char* what, int error);
  void DeleteContainer();
  pid_t ReadPidFile();

  const Options& options_;
  LogWriter log_;
  Clients clients_;
  Stdio stdio_;
  OomWatch oom_;

  Phase phase_ = Phase::kCreating;
  bool finished_ = false;
  bool cancelled_ = false;
  bool loss_told_ = false;
  int exit_code_ = 0;  // of this program
  int signal_fd_ = -1;
  pid_t runtime_ = 0;
  pid_t container_ = 0;
  uint64_t container_start_time_ = 0;
  // Large and mostly untouched, so at the end.
  Journal journal_;
  char pid_file_[4096];
};

StatePacket Monitor::State() {
  StatePacket packet = {};
  packet.header = {kVersion, PacketType::kState};
  packet.phase = phase_;
  packet.flags =
      static_cast<uint8_t>((options_.tty ? monitor_protocol::kStateTty : 0) |
                           (stdio_.input_open() ? monitor_protocol::kStateStdinOpen : 0) |
                           (oom_.killed() ? monitor_protocol::kStateOomKilled : 0));
  packet.monitor_pid = getpid();
  packet.monitor_start_time = ProcessStartTime(getpid());
  packet.container_pid = container_;
  packet.container_start_time = container_start_time_;
  packet.lost_log_bytes = log_.lost_bytes();
  return packet;
}

int Monitor::ReopenLog() {
  if (phase_ != Phase::kCreated) {
    return ESRCH;
  }
  return log_.Open(options_.log, options_.log_max_size);
}

int Monitor::Resize(uint16_t height, uint16_t width) {
  return phase_ == Phase::kEnded ? ESRCH : stdio_.Resize(height, width);
}

int Monitor::CancelCreate() {
  if (phase_ != Phase::kCreating || runtime_ <= 0) {
    return EALREADY;
  }
  cancelled_ = true;
  return kill(runtime_, SIGKILL) == 0 ? 0 : errno;
}

void Monitor::InputClientEnded() {
  if (options_.stdin_once) {
    stdio_.CloseInput();
  }
}

void Monitor::FailWithError(const char* what, int error) {
  TextBuffer<512> text;
  text.Add(what).AddError(error);
  Fail(-1, text.c_str(), text.size());
}

bool Monitor::Prepare() {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  signal_fd_ = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  Text pid_file(pid_file_, sizeof(pid_file_));
  pid_file.Add(options_.socket).Add(".pid");
  unlink(pid_file_);  // of a monitor that was killed

  if (const int error = clients_.Listen(options_.socket); error != 0) {
    FailWithError("listen on the monitor's socket", error);
    return false;
  }
  if (const int error = log_.Open(options_.log, options_.log_max_size); error != 0) {
    FailWithError("open the container's log", error);
    return false;
  }
  if (options_.journal != nullptr && journal_.Open(options_.journal, options_.id, options_.name)) {
    log_.AlsoTo(&journal_);
  }
  if (const int error = stdio_.Open(); error != 0) {
    FailWithError("open the container's standard files", error);
    return false;
  }
  return true;
}

bool Monitor::StartCreate() {
  RuntimeCall call(options_);
  call.Add("create").Add("--bundle").Add(options_.bundle).Add("--pid-file").Add(pid_file_);
  if (stdio_.console_path() != nullptr) {
    call.Add("--console-socket").Add(stdio_.console_path());
  }
  if (options_.no_pivot) {
    call.Add("--no-pivot");
  }
  call.Add(options_.id);

  runtime_ = Spawn(call.argv(), stdio_.child_files());
  stdio_.CloseChildFiles();
  if (runtime_ < 0) {
    TextBuffer<512> text;
    text.Add("run '").Add(options_.runtime[0]).Add("'");
    FailWithError(text.c_str(), -runtime_);
    return false;
  }
  return true;
}

void Monitor::Fail(int exit_code, const char* text, size_t size) {
  phase_ = Phase::kEnded;
  finished_ = true;
  exit_code_ = 1;
  unlink(pid_file_);
  unlink(options_.socket);
  if (stdio_.console_path() != nullptr) {
    UnlinkBeside(options_.socket, ".tty");
  }

  struct [[gnu::packed]] {
    CreateFailedPacket head;
    char text[monitor_protocol::kMaxTextBytes];
  } packet;
  if (size > sizeof(packet.text)) {
    text += size - sizeof(packet.text);
    size = sizeof(packet.text);
  }
  packet.head.header = {kVersion, PacketType::kCreateFailed};
  packet.head.exit_code = exit_code;
  packet.head.cancelled = cancelled_ ? 1 : 0;
  packet.head.text_size = static_cast<uint16_t>(size);
  memcpy(packet.text, text, size);
  clients_.SendAll(&packet, sizeof(packet.head) + size);
}

void Monitor::DeleteContainer() {
  KillDescendants(0);
  ReapAll(kDeleteMillis);
  RuntimeCall call(options_);
  call.Add("delete").Add("--force").Add(options_.id);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const pid_t pid = Spawn(call.argv(), {null, null, null});
  if (pid > 0 && !ReapAll(kDeleteMillis)) {
    KillDescendants(0);
    ReapAll(kDeleteMillis);
  }
  close(null);
}

pid_t Monitor::ReadPidFile() {
  char text[32];
  const int size = ReadSmallFile(pid_file_, text, sizeof(text));
  unlink(pid_file_);
  return size > 0 ? static_cast<pid_t>(ParseNumber(text)) : -1;
}

void Monitor::OnCreateEnd(int status) {
  runtime_ = 0;
  const bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0 && !cancelled_;
  if (ok) {
    const pid_t pid = ReadPidFile();
    if (pid <= 0) {
      DeleteContainer();
      return FailWithError("read the pid that the runtime wrote", EINVAL);
    }
    if (!stdio_.BecomeContainers()) {
      DeleteContainer();
      return FailWithError("receive the terminal from the runtime", ENOTTY);
    }
    container_ = pid;
    container_start_time_ = ProcessStartTime(pid);
    oom_.Open(pid);
    phase_ = Phase::kCreated;
    clients_.SendState();
    // Only now: a new session is a new autogroup (man 7 sched), and starting in one costs tens of
    // milliseconds on a busy machine.
    setsid();
    return;
  }
  stdio_.OnOutput(Stream::kStderr);
  DeleteContainer();
  Fail(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), stdio_.error_text(),
       stdio_.error_size());
}

void Monitor::OnContainerEnd(int status) {
  ExitRecord record = {};
  record.exit_time_ns = NowNanos();
  record.magic = monitor_protocol::kExitRecordMagic;
  record.version = kVersion;
  record.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  record.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  phase_ = Phase::kEnded;
  if (oom_.AtEnd(record.signal)) {
    record.flags |= monitor_protocol::kExitRecordOomKilled;
  }
  stdio_.Drain();
  journal_.TellLoss();
  record.lost_log_bytes = log_.lost_bytes();
  // Only a full or read-only tmpfs makes this fail, and it may pass; without the record the exit is
  // lost.
  for (int i = 0; i < kRecordTries && WriteExitRecord(options_.exit_file, record) != 0; i++) {
    const timespec wait = {0, 100000000};
    nanosleep(&wait, nullptr);
  }
  clients_.SendState();
  unlink(options_.socket);
  finished_ = true;
}

void Monitor::Reap() {
  signalfd_siginfo info;
  while (read(signal_fd_, &info, sizeof(info)) > 0) {
  }
  int status;
  // The runtime first: only its end tells which of the others is the container's first process.
  if (runtime_ > 0) {
    if (waitpid(runtime_, &status, WNOHANG) != runtime_) {
      return;
    }
    OnCreateEnd(status);
  }
  pid_t pid = 0;
  while (!finished_ && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid == container_) {
      OnContainerEnd(status);
    }
  }
  // It never became our child: a runtime that keeps it to itself. Its end can be seen, its code
  // cannot.
  if (!finished_ && pid < 0 && errno == ECHILD && kill(container_, 0) != 0) {
    OnContainerEnd(kUnknownExitCode << 8);
  }
}

void Monitor::Turn() {
  enum { kSignal, kOom, kOomParent, kConsole, kOut, kErr, kIn, kClients };
  static pollfd entries[kClients + Clients::kMax + 1];
  entries[kSignal] = {signal_fd_, POLLIN, 0};
  entries[kOom] = oom_.Poll();
  entries[kOomParent] = oom_.PollParent();
  entries[kConsole] = stdio_.PollConsole();
  entries[kOut] = stdio_.PollOutput(Stream::kStdout);
  entries[kErr] = stdio_.PollOutput(Stream::kStderr);
  entries[kIn] = stdio_.PollInput();
  const int count = kClients + clients_.Poll(entries + kClients);
  if (poll(entries, static_cast<nfds_t>(count), oom_.poll_millis()) < 0) {
    return;
  }
  const bool look = entries[kOom].revents != 0 || entries[kOomParent].revents != 0;
  if ((look || oom_.poll_millis() >= 0) && oom_.OnEvent()) {
    clients_.SendState();
  }
  if (entries[kConsole].revents != 0) {
    stdio_.OnConsole();
  }
  if (entries[kOut].revents != 0) {
    stdio_.OnOutput(Stream::kStdout);
  }
  if (entries[kErr].revents != 0) {
    stdio_.OnOutput(Stream::kStderr);
  }
  if (entries[kIn].revents != 0) {
    stdio_.OnInput();
  }
  if (!loss_told_ && log_.lost_bytes() > 0) {
    loss_told_ = true;
    clients_.SendState();
  }
  clients_.Handle(entries + kClients);
  if (entries[kSignal].revents != 0) {
    Reap();
  }
}

int Monitor::Run() {
  BecomeKeeper();
  LowerOomScore();
  clients_.AddStart(monitor_protocol::kStartFd);
  if (Prepare() && StartCreate()) {
    while (!finished_) {
      Turn();
    }
  }
  return exit_code_;
}

}  // namespace

int RunMonitor(const Options& options) {
  static Monitor monitor(options);  // not on the stack, which would touch every page of its buffers
  return monitor.Run();
}

}  // namespace berth::monitor
