// MonitorConnection and ReadExitRecord.
#include <cerrno>
#include <cstring>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/monitor_protocol/protocol.h"
#include "lib/runtime/monitor_client.h"
#include "lib/runtime/monitor_packets.h"

namespace berth::runtime {
namespace {

using monitor_protocol::AnswerPacket;
using monitor_protocol::Header;
using monitor_protocol::kVersion;
using monitor_protocol::PacketType;

absl::Status Gone() {
  return absl::UnavailableError("the container's monitor closed the connection");
}

}  // namespace

absl::StatusOr<ExitRecord> ReadExitRecord(const std::string& path) {
  // A newer monitor may write a longer one.
  constexpr size_t kMaxRecord = 4096;
  ASSIGN_OR_RETURN(const std::string bytes, base::ReadFile(path, kMaxRecord));
  monitor_protocol::ExitRecord wire;
  if (bytes.size() < sizeof(wire)) {
    return absl::DataLossError(fmt::format("read exit record '{}': too short", path));
  }
  std::memcpy(&wire, bytes.data(), sizeof(wire));
  if (wire.magic != monitor_protocol::kExitRecordMagic || wire.version != kVersion) {
    return absl::DataLossError(fmt::format("read exit record '{}': it is none", path));
  }
  constexpr int kLastSignal = 64;
  if (wire.code < 0 || wire.code > 255 || wire.signal < 0 || wire.signal > kLastSignal) {
    return absl::DataLossError(
        fmt::format("read exit record '{}': no exit has code {} and signal {}", path,
                    int{wire.code}, int{wire.signal}));
  }
  ExitRecord record;
  record.code = wire.code;
  record.signal = wire.signal;
  record.exit_time = absl::FromUnixNanos(wire.exit_time_ns);
  record.oom_killed = (wire.flags & monitor_protocol::kExitRecordOomKilled) != 0;
  record.lost_log_bytes = wire.lost_log_bytes;
  return record;
}

absl::StatusOr<MonitorConnection> MonitorConnection::Connect(const base::OpContext& ctx,
                                                             const std::string& socket_path) {
  ASSIGN_OR_RETURN(base::UniqueFd fd, ConnectMonitor(ctx, socket_path));
  ASSIGN_OR_RETURN(const Packet packet, AwaitPacket(ctx, fd.get()));
  if (packet.end()) {
    return Gone();
  }
  ASSIGN_OR_RETURN(const MonitorState state, ParseState(packet));
  return MonitorConnection(std::move(fd), state);
}

absl::StatusOr<MonitorState> MonitorConnection::GetState(const base::OpContext& ctx) {
  RETURN_IF_ERROR(SendRequest(fd_.get(), PacketType::kGetState));
  ASSIGN_OR_RETURN(const Packet packet, AwaitPacket(ctx, fd_.get()));
  if (packet.end()) {
    return Gone();
  }
  ASSIGN_OR_RETURN(state_, ParseState(packet));
  return state_;
}

absl::Status MonitorConnection::Request(const base::OpContext& ctx, const void* packet, size_t size,
                                        std::string_view what) {
  RETURN_IF_ERROR(base::Annotate(SendPacket(fd_.get(), packet, size), what));
  Header sent;
  std::memcpy(&sent, packet, sizeof(sent));
  absl::StatusOr<Packet> received = AwaitPacket(ctx, fd_.get());
  if (!received.ok()) {
    return base::Annotate(received.status(), what);
  }
  AnswerPacket answer;
  if (received->end()) {
    return base::Annotate(Gone(), what);
  }
  if (received->type() != PacketType::kAnswer || !received->Get(answer) ||
      answer.request != sent.type) {
    return base::Annotate(absl::DataLossError("the monitor answered something else"), what);
  }
  switch (answer.error) {
    case 0:
      return absl::OkStatus();
    case ESRCH:
      return absl::FailedPreconditionError(fmt::format("{}: the container is not running", what));
    case ENOTTY:
      return absl::FailedPreconditionError(
          sent.type == PacketType::kResize
              ? fmt::format("{}: the container has no terminal", what)
              : fmt::format("{}: a terminal's input cannot be closed", what));
    default:
      return base::ErrnoStatus(answer.error, what);
  }
}

absl::Status MonitorConnection::ReopenLog(const base::OpContext& ctx) {
  const Header packet = {kVersion, PacketType::kReopenLog};
  return Request(ctx, &packet, sizeof(packet), "reopen the container's log");
}

absl::Status MonitorConnection::Resize(const base::OpContext& ctx, uint16_t height,
                                       uint16_t width) {
  const monitor_protocol::ResizePacket packet = {{kVersion, PacketType::kResize}, height, width};
  return Request(ctx, &packet, sizeof(packet), "resize the container's terminal");
}

absl::Status MonitorConnection::CloseStdin(const base::OpContext& ctx) {
  const Header packet = {kVersion, PacketType::kCloseStdin};
  return Request(ctx, &packet, sizeof(packet), "close the container's standard input");
}

absl::StatusOr<base::UniqueFd> MonitorConnection::Attach(const base::OpContext& ctx, bool in,
                                                         bool out, bool err) && {
  const uint8_t streams = static_cast<uint8_t>((in ? monitor_protocol::kAttachStdin : 0) |
                                               (out ? monitor_protocol::kAttachStdout : 0) |
                                               (err ? monitor_protocol::kAttachStderr : 0));
  const monitor_protocol::AttachPacket packet = {{kVersion, PacketType::kAttach}, streams};
  RETURN_IF_ERROR(Request(ctx, &packet, sizeof(packet), "attach to the container"));
  return std::move(fd_);
}

}  // namespace berth::runtime
