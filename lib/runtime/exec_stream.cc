// OciRuntime::StartExec.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/runtime/exec_call.h"
#include "lib/runtime/oci_runtime.h"

namespace berth::runtime {
namespace {

using monitor_protocol::ExecReportPacket;
using monitor_protocol::Header;
using monitor_protocol::PacketType;

// A packet with, perhaps, a descriptor.
struct Message {
  union {
    Header header;
    ExecReportPacket report;
  } packet = {};
  ssize_t size = 0;
  base::UniqueFd fd;

  bool Is(PacketType type, size_t least) const {
    return size >= static_cast<ssize_t>(least) && packet.header.type == type;
  }
};

Message Receive(int socket) {
  Message message;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec vector = {&message.packet, sizeof(message.packet)};
  msghdr parts = {};
  parts.msg_iov = &vector;
  parts.msg_iovlen = 1;
  parts.msg_control = control;
  parts.msg_controllen = sizeof(control);
  message.size = ::recvmsg(socket, &parts, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const cmsghdr* header = message.size < 0 ? nullptr : CMSG_FIRSTHDR(&parts);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int fd;
    std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    message.fd.Reset(fd);
  }
  return message;
}

constexpr int kInputPipeBytes = 256 << 10;

// What there is in a pipe, or a terminal that nobody else has open.
std::string ReadText(int fd) {
  std::string text;
  char buffer[4096];
  while (text.size() < kExecReadBytes) {
    const ssize_t got = ::read(fd, buffer, sizeof(buffer));
    if (got <= 0) {
      break;
    }
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

// The command's standard files while it is started.
struct Pipes {
  ExecPipe in, out, err;

  absl::Status Open(const ExecStreams& streams) {
    if (streams.in && !streams.terminal) {
      RETURN_IF_ERROR(in.Open(ExecPipe::Parent::kWrites));
      // A command that reads little at a time wakes us for each page that it takes from a full one.
      (void)::fcntl(in.parent.get(), F_SETPIPE_SZ, kInputPipeBytes);
    }
    if (streams.out && !streams.terminal) {
      RETURN_IF_ERROR(out.Open(ExecPipe::Parent::kReads));
    }
    // In any case: the runtime's own words come from it.
    return err.Open(ExecPipe::Parent::kReads);
  }
  void CloseChilds() {
    in.child.Reset();
    out.child.Reset();
    err.child.Reset();
  }
};

}  // namespace

absl::StatusOr<StartedExec> OciRuntime::StartExec(const base::OpContext& ctx, const std::string& id,
                                                  std::string_view process_json,
                                                  const ExecStreams& streams) {
  const std::string what = fmt::format("exec in container '{}'", id);
  ExecCall call;
  Pipes pipes;
  RETURN_IF_ERROR(base::Annotate(call.Open(process_json, options_.scratch_dir), what));
  RETURN_IF_ERROR(base::Annotate(pipes.Open(streams), what));
  base::ProcessSpec spec;
  spec.stdin_fd = pipes.in.child.get();
  spec.stdout_fd = pipes.out.child.get();
  spec.stderr_fd = pipes.err.child.get();
  std::vector<std::string> options = {"--report-start"};
  if (streams.terminal) {
    options.push_back("--tty");
  } else if (!streams.err) {
    options.push_back("--drain");
    spec.extra_fds = {pipes.err.parent.get()};
  }
  absl::StatusOr<base::Process> helper = call.Start(runner_, handler_, options_, id, options, spec);
  RETURN_IF_ERROR(base::Annotate(helper.status(), what));
  pipes.CloseChilds();

  absl::Status status;
  Message message;
  pollfd entry = {call.report_fd.get(), POLLIN, 0};
  while (status.ok() && ::poll(&entry, 1, ctx.PollMillis()) <= 0) {
    status = base::Annotate(ctx.Check(), what);
  }
  if (status.ok()) {
    message = Receive(call.report_fd.get());
  }
  if (message.Is(PacketType::kExecStarted, sizeof(Header)) &&
      streams.terminal == static_cast<bool>(message.fd)) {
    StartedExec started;
    started.in = std::move(pipes.in.parent);
    started.out = std::move(pipes.out.parent);
    if (streams.err && !streams.terminal) {
      started.err = std::move(pipes.err.parent);
    }
    started.terminal = std::move(message.fd);
    started.report = std::move(call.report_fd);
    started.helper = *std::move(helper);
    ::fcntl(started.report.get(), F_SETFL, O_NONBLOCK);
    if (started.terminal) {
      ::fcntl(started.terminal.get(), F_SETFL, O_NONBLOCK);
    }
    return started;
  }
  call.report_fd.Reset();
  EndExecHelper(*helper);
  RETURN_IF_ERROR(status);
  if (!message.Is(PacketType::kExecReport, sizeof(ExecReportPacket))) {
    return absl::InternalError(
        fmt::format("{}: '{}' ended unexpectedly", what, options_.monitor_path));
  }
  std::string text = ReadText(pipes.err.parent.get());
  if (message.fd) {
    ::fcntl(message.fd.get(), F_SETFL, O_NONBLOCK);
    text += ReadText(message.fd.get());
  }
  return ExecStartError(message.packet.report, handler_, id, text, what);
}

}  // namespace berth::runtime
