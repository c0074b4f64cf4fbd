#include "daemon/streaming/exec_session.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/monitor_protocol/protocol.h"

namespace berth::streaming {

namespace {

using monitor_protocol::ExecOutcome;
using monitor_protocol::ExecReportPacket;

Outcome OutcomeOf(const ExecReportPacket& report) {
  const int code = report.code;  // nobody may refer to a packed field
  switch (report.outcome) {
    case ExecOutcome::kExited:
      return Outcome::Exited(monitor_protocol::CombinedStatus(code, report.signal));
    case ExecOutcome::kRuntimeFailed:
      return Outcome::Failed(fmt::format(
          "error executing command in container: the OCI runtime did not start it and ended with "
          "{}; its message is in the standard error output",
          code));
    case ExecOutcome::kFailed:
      break;
  }
  return Outcome::Failed(fmt::format(
      "error executing command in container: the monitor could not run the OCI runtime: {} ({})",
      std::strerror(code), code));
}

}  // namespace

ExecSession::ExecSession(const SessionContext& context, ExecRequest request,
                         CommandProtocol protocol)
    : RemoteCommand(context, request.streams, protocol),
      request_(std::move(request)),
      self_(std::make_shared<ExecSession*>(this)) {}

std::shared_ptr<StreamSink> ExecSession::MakeInput() {
  return input_ = std::make_shared<FdWriter>(in());
}

void ExecSession::Begin() {
  call_ = context().calls.Run<ExecProcess>(
      [&backend = context().backend, request = request_](const base::OpContext& ctx) {
        return backend.Exec(ctx, request);
      },
      [self = std::weak_ptr(self_)](absl::StatusOr<ExecProcess> started) {
        if (const auto session = self.lock(); session && !(*session)->is_over()) {
          (*session)->OnStarted(std::move(started));
        }
      });
}

void ExecSession::OnStarted(absl::StatusOr<ExecProcess> started) {
  if (!started.ok()) {
    base::Log("streaming")
        .info("exec failed container={}: {}", request_.container_id,
              std::string(started.status().message()));
    Finish(Outcome::Failed(fmt::format("error executing command in container: {}",
                                       std::string(started.status().message()))));
    return;
  }
  bool has_all = true;
  const auto watch = [&](base::UniqueFd& fd, bool wanted_fd) {
    SharedFd watched = WatchFd(context().io, std::move(fd));
    has_all = has_all && (watched != nullptr || !wanted_fd);
    return watched;
  };
  const bool tty = wanted().tty;
  report_ = watch(started->report, true);
  terminal_ = watch(started->terminal, tty);
  const SharedFd in_fd = watch(started->in, wanted().in && !tty);
  const SharedFd out_fd = watch(started->out, wanted().out && !tty);
  const SharedFd err_fd = watch(started->err, wanted().err && !tty);
  if (!has_all) {
    Finish(Outcome::Failed("error executing command in container: its descriptors are not whole"));
    return;
  }
  if (tty) {
    if (size_) {
      Resize(*size_);
    }
    out_reader_ = ReadFrom(terminal_, out());
  } else {
    out_reader_ = ReadFrom(out_fd, out());
    err_reader_ = ReadFrom(err_fd, err());
  }
  if (input_ != nullptr) {
    input_->Start(tty ? terminal_ : in_fd,
                  tty ? FdWriter::AtEnd::kNothing : FdWriter::AtEnd::kClose, nullptr);
  }
  WaitForReport();
}

std::shared_ptr<FdReader> ExecSession::ReadFrom(SharedFd fd,
                                                const std::shared_ptr<ClientStream>& to) {
  if (fd == nullptr) {
    return nullptr;
  }
  ++open_outputs_;
  // A terminal's end is EIO; other errors are an end as well, the report says the rest.
  auto reader = std::make_shared<FdReader>(std::move(fd), to, [this](int) {
    --open_outputs_;
    FinishIfDone();
  });
  reader->Start();
  return reader;
}

void ExecSession::WaitForReport() {
  report_->async_wait(boost::asio::posix::descriptor_base::wait_read,
                      [self = std::weak_ptr(self_)](const boost::system::error_code& error) {
                        if (const auto session = self.lock();
                            session && !error && !(*session)->is_over()) {
                          (*session)->OnReport();
                        }
                      });
}

void ExecSession::OnReport() {
  ExecReportPacket report = {};
  const ssize_t size = ::recv(report_->native_handle(), &report, sizeof(report), MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    WaitForReport();
    return;
  }
  const bool is_report = size == static_cast<ssize_t>(sizeof(report)) &&
                         report.header.type == monitor_protocol::PacketType::kExecReport;
  outcome_ = is_report ? OutcomeOf(report)
                       : Outcome::Failed(
                             "error executing command in container: what ran the command was "
                             "killed before it ended");
  if (input_ != nullptr) {
    input_->Stop();
  }
  for (const std::shared_ptr<FdReader>& reader : {out_reader_, err_reader_}) {
    if (reader != nullptr) {
      reader->Drain();
    }
  }
  FinishIfDone();
}

void ExecSession::FinishIfDone() {
  if (!outcome_.has_value() || open_outputs_ > 0) {
    return;
  }
  base::Log("streaming")
      .debug("exec ended container={} code={}", request_.container_id, outcome_->exit_code);
  Finish(*outcome_);
}

void ExecSession::Resize(TerminalSize size) {
  size_ = size;
  if (terminal_ != nullptr) {
    const winsize wanted_size = {size.height, size.width, 0, 0};
    ::ioctl(terminal_->native_handle(), TIOCSWINSZ, &wanted_size);
  }
}

void ExecSession::Release() {
  if (call_ != nullptr) {
    *call_ = true;
  }
  if (input_ != nullptr) {
    input_->Stop();
  }
  for (const std::shared_ptr<FdReader>& reader : {out_reader_, err_reader_}) {
    if (reader != nullptr) {
      reader->Stop();
    }
  }
  terminal_ = nullptr;
  report_ = nullptr;  // kills the command if it still runs
}

}  // namespace berth::streaming
