#include "lib/runtime/monitor_packets.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::runtime {

using monitor_protocol::PacketType;
using monitor_protocol::Phase;
using monitor_protocol::StatePacket;

PacketType Packet::type() const { return static_cast<PacketType>(bytes_[1]); }

absl::StatusOr<base::UniqueFd> ConnectMonitor(const base::OpContext& ctx,
                                              const std::string& socket_path) {
  const std::string what = fmt::format("connect to monitor at '{}'", socket_path);
  const size_t slash = socket_path.rfind('/');
  if (slash == std::string::npos) {
    return absl::InvalidArgumentError(fmt::format("{}: not an absolute path", what));
  }
  base::UniqueFd dir(
      ::open(socket_path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!dir || !fd) {
    return base::ErrnoStatus(errno, what);
  }
  const std::string path = fmt::format("/proc/self/fd/{}{}", dir.get(), socket_path.substr(slash));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(fmt::format("{}: its name is too long", what));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  while (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) {
      return absl::NotFoundError(fmt::format("{}: no monitor is there", what));
    }
    if (errno != EAGAIN && errno != EINTR) {
      return base::ErrnoStatus(errno, what);
    }
    // Its queue of connections is full, which it empties in a moment; there is nothing to wait on
    // for that.
    RETURN_IF_ERROR(base::Annotate(ctx.Check(), what));
    ::poll(nullptr, 0, 1);
  }
  return fd;
}

absl::Status SendPacket(int fd, const void* packet, size_t size) {
  if (::send(fd, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(size)) {
    return absl::UnavailableError(
        base::ErrnoStatus(errno, "send to the container's monitor").message());
  }
  return absl::OkStatus();
}

absl::Status SendRequest(int fd, PacketType type) {
  const monitor_protocol::Header header = {monitor_protocol::kVersion, type};
  return SendPacket(fd, &header, sizeof(header));
}

absl::StatusOr<Packet> ReceivePacket(int fd) {
  Packet packet;
  ssize_t size;
  do {
    size = ::recv(fd, packet.bytes_, sizeof(packet.bytes_), MSG_DONTWAIT | MSG_TRUNC);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && errno == EAGAIN) {
    return absl::UnavailableError("no packet yet");
  }
  if (size <= 0) {
    return packet;  // ECONNRESET: it ended with packets of ours unread
  }
  packet.size_ = static_cast<size_t>(size);
  monitor_protocol::Header header;
  if (packet.size_ > sizeof(packet.bytes_) || !packet.Get(header) ||
      header.version != monitor_protocol::kVersion) {
    return absl::DataLossError("the monitor sent something that is not of its protocol");
  }
  return packet;
}

absl::StatusOr<Packet> AwaitPacket(const base::OpContext& ctx, int fd) {
  while (true) {
    pollfd entry = {fd, POLLIN, 0};
    if (::poll(&entry, 1, ctx.PollMillis()) > 0) {
      absl::StatusOr<Packet> packet = ReceivePacket(fd);
      if (!absl::IsUnavailable(packet.status())) {
        return packet;
      }
    }
    RETURN_IF_ERROR(ctx.Check());
  }
}

absl::StatusOr<MonitorState> ParseState(const Packet& packet) {
  StatePacket wire;
  if (packet.end() || packet.type() != PacketType::kState || !packet.Get(wire)) {
    return absl::DataLossError("the monitor sent something else than its state");
  }
  MonitorState state;
  switch (wire.phase) {
    case Phase::kCreating:
      state.phase = MonitorState::Phase::kCreating;
      break;
    case Phase::kCreated:
      state.phase = MonitorState::Phase::kCreated;
      break;
    case Phase::kEnded:
      state.phase = MonitorState::Phase::kEnded;
      break;
    default:
      return absl::DataLossError("the monitor is in an unknown phase");
  }
  state.monitor = {wire.monitor_pid, wire.monitor_start_time};
  state.container = {wire.container_pid, wire.container_start_time};
  state.tty = (wire.flags & monitor_protocol::kStateTty) != 0;
  state.stdin_open = (wire.flags & monitor_protocol::kStateStdinOpen) != 0;
  state.oom_killed = (wire.flags & monitor_protocol::kStateOomKilled) != 0;
  state.lost_log_bytes = wire.lost_log_bytes;
  return state;
}

}  // namespace berth::runtime
