// Packets of lib/monitor_protocol on this side of the socket. Internal to lib/runtime.
// Threads: no state.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/monitor_protocol/protocol.h"
#include "lib/runtime/monitor_client.h"

namespace berth::runtime {

// One packet as received; empty at the end of file.
class Packet {
 public:
  bool end() const { return size_ == 0; }
  monitor_protocol::PacketType type() const;
  // Copies the struct out. When it has grown since the protocol's first form, min_size is what it
  // had then, and what a peer of that time does not send is zero. False: shorter than that.
  template <typename T>
  bool Get(T& out, size_t min_size = sizeof(T)) const {
    if (size_ < min_size) {
      return false;
    }
    __builtin_memset(&out, 0, sizeof(T));
    __builtin_memcpy(&out, bytes_, size_ < sizeof(T) ? size_ : sizeof(T));
    return true;
  }
  // What follows the first `count` bytes.
  std::string_view After(size_t count) const {
    return count < size_ ? std::string_view(bytes_ + count, size_ - count) : std::string_view();
  }

 private:
  friend absl::StatusOr<Packet> ReceivePacket(int fd);

  char bytes_[monitor_protocol::kMaxPacketBytes];
  size_t size_ = 0;
};

// Connects a SOCK_SEQPACKET socket; the path may be longer than sockaddr_un holds. kNotFound:
// nobody listens there.
absl::StatusOr<base::UniqueFd> ConnectMonitor(const base::OpContext& ctx,
                                              const std::string& socket_path);

// Sends without waiting: a monitor always reads what is sent to it, except input. kUnavailable: it
// has gone.
absl::Status SendPacket(int fd, const void* packet, size_t size);
absl::Status SendRequest(int fd, monitor_protocol::PacketType type);

// Receives without waiting. kUnavailable: there is none yet; kDataLoss: not a packet of this
// protocol.
absl::StatusOr<Packet> ReceivePacket(int fd);
// Waits for one. The context's errors.
absl::StatusOr<Packet> AwaitPacket(const base::OpContext& ctx, int fd);

// kDataLoss: too short, or values that make no sense.
absl::StatusOr<MonitorState> ParseState(const Packet& packet);

}  // namespace berth::runtime
