// What the daemon reads of a monitor: packets, as pieces, and an exit record, as the rest.
#include "lib/runtime/monitor_packets.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include "lib/base/file.h"
#include "lib/runtime/monitor_client.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::runtime {

namespace {

void ReadPacket(int fd) {
  const absl::StatusOr<Packet> packet = ReceivePacket(fd);
  if (!packet.ok()) {
    return;
  }
  (void)ParseState(*packet);
  monitor_protocol::CreateFailedPacket failed;
  if (!packet->end() && packet->Get(failed)) {
    BERTH_CHECK(packet->After(sizeof(failed)).size() <= monitor_protocol::kMaxPacketBytes);
  }
  monitor_protocol::AnswerPacket answer;
  (void)packet->Get(answer);
  monitor_protocol::ExecReportPacket report;
  (void)packet->Get(report, sizeof(monitor_protocol::Header));
}

void ReadRecord(std::string_view bytes) {
  const base::UniqueFd file(::memfd_create("exit", MFD_CLOEXEC));
  BERTH_CHECK(base::WriteFd(file.get(), bytes).ok());
  const auto record = ReadExitRecord("/proc/self/fd/" + std::to_string(file.get()));
  if (record.ok()) {
    (void)record->Combined();
  }
}

}  // namespace

FUZZ_TARGET(monitor_packets) {
  fuzz::Input parts(input);
  int ends[2];
  BERTH_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  const base::UniqueFd monitor(ends[0]), daemon(ends[1]);
  for (int packets = parts.Byte() % 4; packets > 0; --packets) {
    const std::string_view packet = parts.Piece();
    (void)!::send(monitor.get(), packet.data(), packet.size(), MSG_NOSIGNAL);
    ReadPacket(daemon.get());
  }
  ReadRecord(parts.Rest());
}

}  // namespace berth::runtime
