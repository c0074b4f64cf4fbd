// The monitor's socket: packets of clients in any order and form, clients that do not read, that
// close, that are many.
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "cmd/monitor/clients.h"
#include "lib/base/unique_fd.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::monitor {

namespace {

struct FakeRequests final : Requests {
  monitor_protocol::StatePacket State() override {
    return {{monitor_protocol::kVersion, monitor_protocol::PacketType::kState},
            monitor_protocol::Phase::kCreated,
            0,
            1,
            2,
            3,
            4,
            0};
  }
  int ReopenLog() override { return 0; }
  int Resize(uint16_t height, uint16_t width) override { return height > width ? ENOTTY : 0; }
  int CloseInput() override { return 0; }
  int CancelCreate() override { return ESRCH; }
  bool InputReady() override { return ready; }
  void Input(const char* data, size_t size) override {
    BERTH_CHECK(ready);
    BERTH_CHECK(size <= monitor_protocol::kMaxDataBytes);
    for (size_t at = 0; at < size; ++at) {
      sum += static_cast<unsigned char>(data[at]);  // it is all there
    }
  }
  void InputClientEnded() override {}
  bool ready = true;
  unsigned sum = 0;
};

class World {
 public:
  World() : clients_(std::make_unique<Clients>(requests_)) {}
  ~World() {
    requests_.ready = true;
    ends_.clear();
    // The monitor notices every one of them.
    for (int turns = 0; turns < 2000 && Turn() > 1; ++turns) {
    }
  }
  void Connect() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
      return;
    }
    ends_.emplace_back(ends[0]);
    clients_->AddStart(ends[1]);
  }
  int End(uint8_t number) const { return ends_[number % ends_.size()].get(); }
  void Close(uint8_t number) {
    if (ends_.size() > 1) {
      ends_.erase(ends_.begin() + number % static_cast<ptrdiff_t>(ends_.size()));
    }
  }
  // One turn of the monitor's loop; how many descriptors it waits for.
  int Turn() {
    pollfd entries[Clients::kMax + 1];
    const int count = clients_->Poll(entries);
    BERTH_CHECK(count <= Clients::kMax + 1);
    ::poll(entries, static_cast<nfds_t>(count), 0);
    clients_->Handle(entries);
    return count;
  }
  Clients& clients() { return *clients_; }
  FakeRequests& requests() { return requests_; }
  size_t count() const { return ends_.size(); }

 private:
  FakeRequests requests_;
  const std::unique_ptr<Clients> clients_;
  std::vector<base::UniqueFd> ends_;
};

}  // namespace

FUZZ_TARGET(monitor_clients) {
  const int free_before = ::dup(0);
  ::close(free_before);
  {
    fuzz::Input parts(input);
    World world;
    world.Connect();
    const std::string output(monitor_protocol::kMaxDataBytes, 'x');
    while (!parts.empty()) {
      const uint8_t operation = parts.Byte();
      const uint8_t number = operation >> 3;
      switch (operation % 8) {
        case 0:
        case 1: {
          std::string packet(parts.Take(parts.Byte()));
          packet.resize(packet.size() + (operation % 2) * 100u * parts.Byte(), 'z');
          (void)!::send(world.End(number), packet.data(), packet.size(), MSG_NOSIGNAL);
          break;
        }
        case 2: {
          const char header[] = {monitor_protocol::kVersion,
                                 static_cast<char>(parts.Byte()),
                                 static_cast<char>(parts.Byte()),
                                 0,
                                 0,
                                 0,
                                 0};
          (void)!::send(world.End(number), header, sizeof(header), MSG_NOSIGNAL);
          break;
        }
        case 3:
          for (int packets = parts.Byte(); packets > 0; --packets) {
            world.clients().SendOutput(number % 2 == 0 ? Stream::kStdout : Stream::kStderr,
                                       output.data(), output.size() - number);
          }
          break;
        case 4:
          world.requests().ready = number % 2 == 0;
          break;
        case 5:
          if (number == 31) {
            for (int many = 0; many < 600 && world.count() < 550; ++many) {
              world.Connect();
            }
          }
          world.Connect();
          break;
        case 6:
          world.Close(number);
          break;
        case 7: {
          char received[monitor_protocol::kMaxPacketBytes];
          (void)!::recv(world.End(number), received, sizeof(received), MSG_DONTWAIT);
          world.clients().SendState();
          break;
        }
      }
      world.Turn();
    }
  }
  const int free_after = ::dup(0);
  ::close(free_after);
  BERTH_CHECK(free_after == free_before);
}

}  // namespace berth::monitor
