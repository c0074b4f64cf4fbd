// OciRuntime::ExecSync: this side of `berth-monitor exec` (cmd/monitor/exec.cc).
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "lib/base/file.h"
#include "lib/base/id.h"
#include "lib/base/status.h"
#include "lib/monitor_protocol/protocol.h"
#include "lib/runtime/oci_runtime.h"

namespace berth::runtime {
namespace {

using monitor_protocol::ExecOutcome;
using monitor_protocol::ExecReportPacket;

// Time for the helper to kill a tree and end; only a process in uninterruptible sleep takes longer.
constexpr absl::Duration kKillTimeout = absl::Seconds(10);
constexpr size_t kReadBytes = 64 << 10;

// One output stream of the command.
class Output {
 public:
  absl::Status Open() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      return base::ErrnoStatus(errno, "make pipe");
    }
    read_.Reset(ends[0]);
    write_.Reset(ends[1]);
    if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
      return base::ErrnoStatus(errno, "make pipe non-blocking");
    }
    return absl::OkStatus();
  }
  int write_fd() const { return write_.get(); }
  int read_fd() const { return read_.get(); }
  void CloseWrite() { write_.Reset(); }

  // Reads until there is nothing, or `budget` bytes were read.
  void Read(std::vector<char>& buffer, size_t budget) {
    while (read_ && budget > 0) {
      const ssize_t got = ::read(read_.get(), buffer.data(), std::min(buffer.size(), budget));
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got < 0 && errno == EAGAIN) {
        return;
      }
      if (got <= 0) {
        read_.Reset();
        return;
      }
      const size_t count = static_cast<size_t>(got);
      const size_t keep = std::min(count, OciRuntime::kExecOutputLimit - text_.size());
      text_.append(buffer.data(), keep);
      truncated_ |= keep < count;
      budget -= count;
    }
  }
  // After the command's end: what it wrote is in the pipe, so what the pipe holds is all that is
  // waited for, and a process that goes on writing does not hold this up.
  void Finish(std::vector<char>& buffer) {
    const int capacity = read_ ? ::fcntl(read_.get(), F_GETPIPE_SZ) : 0;
    Read(buffer, capacity > 0 ? static_cast<size_t>(capacity) : kReadBytes);
  }

  std::string& text() { return text_; }
  bool truncated() const { return truncated_; }

 private:
  base::UniqueFd read_;
  base::UniqueFd write_;
  std::string text_;
  bool truncated_ = false;
};

absl::StatusOr<base::UniqueFd> MakeProcessFile(std::string_view process_json) {
  base::UniqueFd file(::memfd_create("process.json", MFD_CLOEXEC));
  if (!file) {
    return base::ErrnoStatus(errno, "make process file");
  }
  RETURN_IF_ERROR(base::WriteFd(file.get(), process_json));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) {
    return base::ErrnoStatus(errno, "rewind process file");
  }
  return file;
}

// What the helper does for runtimes that do not look at it in `process`.
void AddProcessArguments(std::string_view process_json, std::vector<std::string>& argv) {
  const nlohmann::json process = nlohmann::json::parse(process_json, nullptr, false);
  if (!process.is_object()) {
    return;  // the runtime will say so
  }
  if (const auto score = process.find("oomScoreAdj");
      score != process.end() && score->is_number_integer()) {
    argv.insert(argv.end(), {"--oom-score-adj", fmt::format("{}", score->get<int>())});
  }
  if (const auto cpu = process.find("execCPUAffinity"); cpu != process.end()) {
    argv.insert(argv.end(), {"--cpu", cpu->value("final", "")});
  }
}

// How the wait for the command ended.
struct Outcome {
  enum class Kind { kReport, kHelperGone, kTimeout, kContext } kind;
  ExecReportPacket report = {};
  absl::Status context;
};

Outcome Await(const base::OpContext& ctx, absl::Time deadline, int report_fd, Output& out,
              Output& err) {
  std::vector<char> buffer(kReadBytes);
  const base::OpContext limited = ctx.Within(deadline - absl::Now());
  while (true) {
    pollfd entries[3] = {
        {report_fd, POLLIN, 0}, {out.read_fd(), POLLIN, 0}, {err.read_fd(), POLLIN, 0}};
    ::poll(entries, 3, limited.PollMillis());
    out.Read(buffer, 4 * kReadBytes);
    err.Read(buffer, 4 * kReadBytes);
    if (entries[0].revents != 0) {
      Outcome outcome = {Outcome::Kind::kReport, {}, absl::OkStatus()};
      const ssize_t size = ::recv(report_fd, &outcome.report, sizeof(outcome.report), MSG_DONTWAIT);
      if (size < static_cast<ssize_t>(sizeof(outcome.report))) {
        outcome.kind = Outcome::Kind::kHelperGone;
      }
      out.Finish(buffer);
      err.Finish(buffer);
      return outcome;
    }
    if (absl::Status status = ctx.Check(); !status.ok()) {
      return {Outcome::Kind::kContext, {}, std::move(status)};
    }
    if (absl::Now() >= deadline) {
      return {Outcome::Kind::kTimeout, {}, absl::OkStatus()};
    }
  }
}

// What berthd and the helper share while a command runs.
struct Session {
  base::UniqueFd report_fd;
  base::UniqueFd helper_fd;
  base::UniqueFd process_file;
  Output out;
  Output err;

  absl::Status Open(std::string_view process_json) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      return base::ErrnoStatus(errno, "make socket pair");
    }
    report_fd.Reset(ends[0]);
    helper_fd.Reset(ends[1]);
    ASSIGN_OR_RETURN(process_file, MakeProcessFile(process_json));
    RETURN_IF_ERROR(out.Open());
    return err.Open();
  }
  void CloseHelpers() {
    helper_fd.Reset();
    process_file.Reset();
    out.CloseWrite();
    err.CloseWrite();
  }
};

}  // namespace

absl::StatusOr<ExecResult> OciRuntime::ExecSync(const base::OpContext& ctx, const std::string& id,
                                                std::string_view process_json,
                                                absl::Duration timeout) {
  const std::string what = fmt::format("exec in container '{}'", id);
  const absl::Time deadline =
      timeout > absl::ZeroDuration() ? absl::Now() + timeout : absl::InfiniteFuture();
  Session session;
  RETURN_IF_ERROR(base::Annotate(session.Open(process_json), what));
  const base::Owner& owner = options_.stdio_owner;
  for (const int fd : {session.out.write_fd(), session.err.write_fd()}) {
    if (owner != base::Owner() && ::fchown(fd, owner.uid, owner.gid) != 0) {
      return base::ErrnoStatus(errno, fmt::format("{}: change the owner of a pipe", what));
    }
  }

  const std::string pid_file =
      fmt::format("{}/exec-{}.pid", options_.scratch_dir, base::GenerateId().substr(0, 16));
  const absl::Cleanup remove_pid_file = [&pid_file] { ::unlink(pid_file.c_str()); };
  base::ProcessSpec spec;
  spec.argv = {options_.monitor_path, "exec", "--pid-file", pid_file};
  AddProcessArguments(process_json, spec.argv);
  spec.argv.push_back("--");
  const std::vector<std::string> command = handler_.Command(options_.systemd_cgroup);
  spec.argv.insert(spec.argv.end(), command.begin(), command.end());
  spec.argv.insert(spec.argv.end(), {"--log", "/dev/null", "exec", "--detach", "--pid-file",
                                     pid_file, "--process", "/proc/self/fd/4", id});
  spec.env = Environment();
  spec.stdout_fd = session.out.write_fd();
  spec.stderr_fd = session.err.write_fd();
  spec.extra_fds = {session.helper_fd.get(), session.process_file.get()};
  absl::StatusOr<base::Process> helper = runner_.Start(spec);
  if (!helper.ok()) {
    return absl::UnavailableError(base::Annotate(helper.status(), what).message());
  }
  session.CloseHelpers();

  const Outcome outcome = Await(ctx, deadline, session.report_fd.get(), session.out, session.err);
  session.report_fd.Reset();  // which makes the helper kill what still runs
  if (!helper->Wait(base::OpContext::WithTimeout(kKillTimeout)).ok()) {
    (void)helper->Kill(SIGKILL);
    (void)helper->Wait(base::OpContext::Background());
  }

  ExecResult result;
  switch (outcome.kind) {
    case Outcome::Kind::kContext:
      return base::Annotate(outcome.context, what);
    case Outcome::Kind::kHelperGone:
      return absl::InternalError(
          fmt::format("{}: '{}' ended unexpectedly", what, options_.monitor_path));
    case Outcome::Kind::kTimeout:
      result.exit_code = -1;
      result.timed_out = true;
      break;
    case Outcome::Kind::kReport: {
      const ExecReportPacket& report = outcome.report;
      if (report.outcome == ExecOutcome::kRuntimeFailed) {
        return RuntimeError(handler_.name, "exec in", id, session.err.text(), report.code);
      }
      if (report.outcome != ExecOutcome::kExited) {
        return absl::UnavailableError(
            base::ErrnoStatus(report.code, fmt::format("{}: run '{}'", what, handler_.path))
                .message());
      }
      result.exit_code = report.signal != 0 ? 128 + report.signal : report.code;
      break;
    }
  }
  result.truncated = session.out.truncated() || session.err.truncated();
  result.out = std::move(session.out.text());
  result.err = std::move(session.err.text());
  return result;
}

}  // namespace berth::runtime
