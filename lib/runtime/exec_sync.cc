// OciRuntime::ExecSync.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/runtime/exec_call.h"
#include "lib/runtime/oci_runtime.h"

namespace berth::runtime {
namespace {

using monitor_protocol::ExecOutcome;
using monitor_protocol::ExecReportPacket;

// One output stream of the command.
class Output {
 public:
  absl::Status Open() { return pipe_.Open(ExecPipe::Parent::kReads); }
  int write_fd() const { return pipe_.child.get(); }
  int read_fd() const { return pipe_.parent.get(); }
  void CloseWrite() { pipe_.child.Reset(); }

  // Reads until there is nothing, or `budget` bytes were read.
  void Read(std::vector<char>& buffer, size_t budget) {
    while (pipe_.parent && budget > 0) {
      const ssize_t got = ::read(read_fd(), buffer.data(), std::min(buffer.size(), budget));
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got < 0 && errno == EAGAIN) {
        return;
      }
      if (got <= 0) {
        pipe_.parent.Reset();
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
    const int capacity = pipe_.parent ? ::fcntl(read_fd(), F_GETPIPE_SZ) : 0;
    Read(buffer, capacity > 0 ? static_cast<size_t>(capacity) : kExecReadBytes);
  }

  std::string& text() { return text_; }
  bool truncated() const { return truncated_; }

 private:
  ExecPipe pipe_;
  std::string text_;
  bool truncated_ = false;
};

// How the wait for the command ended.
struct Outcome {
  enum class Kind { kReport, kHelperGone, kTimeout, kContext } kind;
  ExecReportPacket report = {};
  absl::Status context;
};

// It is the helper's end that is waited for, which follows its report: being woken by both, and by
// each output's end, would cost a fast command more than it takes itself.
Outcome Await(const base::OpContext& ctx, absl::Time deadline, int helper_pidfd, int report_fd,
              Output& out, Output& err) {
  std::vector<char> buffer(kExecReadBytes);
  const base::OpContext limited = ctx.Within(deadline - absl::Now());
  while (true) {
    pollfd entries[3] = {
        {helper_pidfd, POLLIN, 0}, {out.read_fd(), POLLIN, 0}, {err.read_fd(), POLLIN, 0}};
    ::poll(entries, 3, limited.PollMillis());
    out.Read(buffer, 4 * kExecReadBytes);
    err.Read(buffer, 4 * kExecReadBytes);
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

}  // namespace

absl::StatusOr<ExecResult> OciRuntime::ExecSync(const base::OpContext& ctx, const std::string& id,
                                                std::string_view process_json,
                                                absl::Duration timeout) {
  const std::string what = fmt::format("exec in container '{}'", id);
  const absl::Time deadline =
      timeout > absl::ZeroDuration() ? absl::Now() + timeout : absl::InfiniteFuture();
  ExecCall call;
  Output out;
  Output err;
  RETURN_IF_ERROR(base::Annotate(call.Open(process_json, options_.scratch_dir), what));
  RETURN_IF_ERROR(base::Annotate(out.Open(), what));
  RETURN_IF_ERROR(base::Annotate(err.Open(), what));
  base::ProcessSpec spec;
  spec.stdout_fd = out.write_fd();
  spec.stderr_fd = err.write_fd();
  absl::StatusOr<base::Process> helper = call.Start(runner_, handler_, options_, id, {}, spec);
  RETURN_IF_ERROR(base::Annotate(helper.status(), what));
  out.CloseWrite();
  err.CloseWrite();

  const Outcome outcome = Await(ctx, deadline, helper->pidfd(), call.report_fd.get(), out, err);
  call.report_fd.Reset();
  EndExecHelper(*helper);

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
      if (report.outcome != ExecOutcome::kExited) {
        return ExecStartError(report, handler_, id, err.text(), what);
      }
      result.exit_code = monitor_protocol::CombinedStatus(report.code, report.signal);
      break;
    }
  }
  result.truncated = out.truncated() || err.truncated();
  result.out = std::move(out.text());
  result.err = std::move(err.text());
  return result;
}

}  // namespace berth::runtime
