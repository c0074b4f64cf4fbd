// A client's connection to the streaming server, from the first byte of its request to the last of
// its session: HTTP, the upgrade, SPDY or WebSocket, and exec, attach or port forwarding behind it.
//
// First byte: what the URL stands for and which protocol is asked for; second: how the request is
// made; then lines of further headers, an empty one, and what both sides do.
#include <sched.h>

#include "daemon/streaming/http_connection.h"
#include "daemon/streaming/testing/fake_backend.h"
#include "daemon/streaming/testing/spdy_client.h"
#include "daemon/streaming/testing/websocket_client.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::streaming {

namespace {

// No port forward may reach anything of this machine.
bool IsIsolated() {
  static const bool isolated = ::unshare(CLONE_NEWNET) == 0;
  return isolated;
}

class IsolatedBackend : public FakeBackend {
 public:
  absl::StatusOr<ExecProcess> Exec(const base::OpContext& ctx,
                                   const ExecRequest& request) override {
    auto process = FakeBackend::Exec(ctx, request);
    ++calls;
    return process;
  }
  absl::StatusOr<Attachment> Attach(const base::OpContext& ctx,
                                    const AttachRequest& request) override {
    auto attachment = FakeBackend::Attach(ctx, request);
    ++calls;
    return attachment;
  }
  absl::StatusOr<PodSockets> OpenPodSockets(const base::OpContext& ctx,
                                            const std::string& id) override {
    auto sockets = IsIsolated() ? FakeBackend::OpenPodSockets(ctx, id)
                                : absl::StatusOr<PodSockets>(absl::UnavailableError("no root"));
    ++calls;
    return sockets;
  }
  std::atomic<int> calls = 0;
};

// The server's parts around one connection.
class World {
 public:
  explicit World(StreamRequest request) : token_(*tokens_.Add(std::move(request))) {
    int ends[2];
    BERTH_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    client_.Reset(ends[1]);
    asio::ip::tcp::socket socket(io_);
    socket.assign(asio::ip::tcp::v4(), ends[0]);
    const auto connection =
        std::make_shared<HttpConnection>(server_, ByteStream(std::move(socket), nullptr));
    connections_.AddPending(connection);
    connection->Start();
  }
  ~World() {
    client_.Reset();
    io_.poll();
    connections_.AbortAll();
    io_.poll();
    BERTH_CHECK(connections_.size() == 0);
    calls_.Stop();
    io_.restart();
    io_.poll();
  }

  const std::string& token() const { return token_; }
  IsolatedBackend& backend() { return backend_; }
  void Send(std::string_view bytes) {
    // What does not fit is lost: the server is not reading, as it may.
    (void)!::send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    io_.poll();
  }
  size_t Receive() {
    char buffer[65536];
    const ssize_t got = ::recv(client_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    io_.poll();
    return got > 0 ? static_cast<size_t>(got) : 0;
  }
  // Until the backend has answered so often, where it is asked at all.
  void Await(int calls) {
    for (int i = 0; i < 5 && backend_.calls < calls; ++i) {
      io_.run_for(std::chrono::microseconds(200));
    }
    io_.run_for(std::chrono::microseconds(100));
  }

 private:
  asio::io_context io_{1};
  IsolatedBackend backend_;
  BackendCalls calls_{io_};
  ConnectionSet connections_{io_};
  TokenTable tokens_;
  HttpConnection::Server server_{{io_, backend_, calls_, std::chrono::seconds(30)},
                                 tokens_,
                                 connections_,
                                 std::chrono::hours(4)};
  base::UniqueFd client_;
  std::string token_;
};

StreamRequest RequestOf(uint8_t kind) {
  const Streams streams = {(kind & 4) != 0, true, (kind & 8) == 0, (kind & 8) != 0};
  switch (kind % 4) {
    case 0:
    case 1:
      return ExecRequest{"c1", {"sh"}, streams};
    case 2:
      return AttachRequest{"c1", streams};
    default:
      return PortForwardRequest{"pod1", {80, 443}};
  }
}

std::string HttpRequestText(uint8_t kind, const std::string& token, fuzz::Input& parts) {
  constexpr const char* kKinds[] = {"exec", "exec", "attach", "portforward"};
  constexpr const char* kProtocols[] = {"v4.channel.k8s.io", "v5.channel.k8s.io",
                                        "v4.base64.channel.k8s.io", "portforward.k8s.io"};
  const char* const protocol = kProtocols[kind >> 4 & 3];
  const bool is_websocket = (kind & 0x80) != 0;
  const uint8_t how = parts.Byte();
  std::string text = how == 1 ? parts.Line() + "\r\n"
                              : std::string(how % 2 == 0 ? "POST" : "GET") + " /" +
                                    kKinds[kind % 4] + "/" + token + " HTTP/1.1\r\n";
  text += "Host: a\r\n";
  if (how < 0x80) {
    text += is_websocket
                ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: "
                : "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ";
    text += std::string(protocol) + "\r\n";
  }
  for (std::string line = parts.Line(); !line.empty(); line = parts.Line()) {
    text += line + "\r\n";
  }
  return text + "\r\n";
}

// The streams that a SPDY client opens at the beginning.
std::string OpenStreams(uint8_t kind, SpdyDeflater& deflater, uint32_t& next) {
  std::string all;
  const auto open = [&](HeaderList headers) {
    all += SynStream(next, 0, deflater.Block(headers));
    next += 2;
  };
  if (kind % 4 == 3) {
    for (const char* type : {"error", "data"}) {
      open({{"streamtype", type}, {"port", "80"}, {"requestid", "0"}});
    }
    return all;
  }
  open({{"streamtype", "error"}});
  if ((kind & 4) != 0) {
    open({{"streamtype", "stdin"}});
  }
  open({{"streamtype", "stdout"}});
  open({{"streamtype", (kind & 8) != 0 ? "resize" : "stderr"}});
  return all;
}

// What the container's side does.
void Act(uint8_t operation, fuzz::Input& parts, FakeProcess* process, int monitor) {
  const std::string_view bytes = parts.Piece();
  if (monitor >= 0) {
    (void)!::send(monitor, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  if (process == nullptr) {
    return;
  }
  const int out = process->terminal.valid() ? process->terminal.get()
                  : (operation & 0x40) != 0 ? process->err.get()
                                            : process->out.get();
  if (out >= 0) {
    (void)!::write(out, bytes.data(), std::min<size_t>(bytes.size(), 2048));
  }
  if ((operation & 0x80) != 0 && process->report.valid()) {
    (void)!::send(process->report.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    process->report.Reset();
  }
}

void Play(World& world, uint8_t kind, fuzz::Input& parts) {
  SpdyDeflater deflater;
  uint32_t next = 1;
  if (kind < 0x80) {
    world.Send(OpenStreams(kind, deflater, next));
  }
  world.Await(1);
  std::unique_ptr<FakeProcess> process;
  base::UniqueFd monitor;
  if (world.backend().calls > 0 && kind % 4 < 2) {
    process = world.backend().NextProcess();
  } else if (world.backend().calls > 0 && kind % 4 == 2) {
    monitor = world.backend().NextMonitor();
  }
  while (!parts.empty()) {
    const uint8_t operation = parts.Byte();
    switch (operation % 6) {
      case 0:
        world.Send(parts.Piece());
        break;
      case 1:
        world.Send(WebSocketClient::Frame(std::string(parts.Piece()), operation >> 4));
        break;
      case 2: {
        const uint32_t id = 1 + 2 * (operation >> 4);
        world.Send(SpdyDataFrame(id, operation & 8 ? kSpdyFin : 0, parts.Piece()));
        break;
      }
      case 3:
        world.Send(SynStream(next, 0,
                             deflater.Block({{"streamtype", operation & 8 ? "error" : "data"},
                                             {"port", parts.Line()},
                                             {"requestid", parts.Line()}})));
        next += 2;
        world.Await(2);
        break;
      case 4:
        Act(operation, parts, process.get(), monitor.get());
        world.Send({});
        break;
      case 5:
        world.Receive();
        break;
    }
  }
}

}  // namespace

FUZZ_TARGET(stream_connection) {
  (void)IsIsolated();
  ::signal(SIGPIPE, SIG_IGN);  // the server's thread blocks it
  const int free_before = ::dup(0);
  ::close(free_before);
  {
    fuzz::Input parts(input);
    const uint8_t kind = parts.Byte();
    World world(RequestOf(kind));
    world.Send(HttpRequestText(kind, world.token(), parts));
    Play(world, kind, parts);
  }
  const int free_after = ::dup(0);
  ::close(free_after);
  BERTH_CHECK(free_after == free_before);
}

}  // namespace berth::streaming
