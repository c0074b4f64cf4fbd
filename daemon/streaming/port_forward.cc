#include "daemon/streaming/port_forward.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "fmt/format.h"

#include "daemon/streaming/limits.h"
#include "lib/base/log.h"

namespace berth::streaming {

namespace {

// 0, or connect(2)'s errno; EINPROGRESS is the usual one.
int ConnectToLoopback(int fd, int family, uint16_t port) {
  sockaddr_in ipv4 = {};
  ipv4.sin_family = AF_INET;
  ipv4.sin_port = htons(port);
  ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 ipv6 = {};
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_port = htons(port);
  ipv6.sin6_addr = in6addr_loopback;
  const bool is_ipv4 = family == AF_INET;
  const auto* address =
      is_ipv4 ? reinterpret_cast<const sockaddr*>(&ipv4) : reinterpret_cast<const sockaddr*>(&ipv6);
  return ::connect(fd, address, is_ipv4 ? sizeof(ipv4) : sizeof(ipv6)) == 0 ? 0 : errno;
}

int SocketError(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

}  // namespace

// One connection: waits for its two streams, asks for sockets, connects, carries.
class PortForwardSession::Forward : public std::enable_shared_from_this<Forward> {
 public:
  Forward(PortForwardSession& session, std::string request, uint16_t port)
      : session_(session), request_(std::move(request)), port_(port) {}

  uint16_t port() const { return port_; }

  bool Add(bool is_data, std::shared_ptr<ClientStream> stream) {
    std::shared_ptr<ClientStream>& slot = is_data ? data_ : error_;
    if (slot != nullptr) {
      return false;
    }
    slot = std::move(stream);
    if (is_data) {
      to_pod_ = std::make_shared<FdWriter>(data_);
      to_pod_->OnResetCall([this] { OnClientReset(); });
      data_->SetSink(to_pod_);
    }
    if (data_ != nullptr && error_ != nullptr) {
      Open();
    }
    return true;
  }

  void Tick(Clock::time_point now) {
    if (now < give_up_) {
      return;
    }
    if (data_ == nullptr || error_ == nullptr) {
      Fail(fmt::format("timed out waiting for the {} stream", data_ == nullptr ? "data" : "error"));
    } else {
      OnConnected(ETIMEDOUT);
    }
  }

  void Release() {
    give_up_ = Clock::time_point::max();
    if (call_ != nullptr) {
      *call_ = true;
    }
    if (to_pod_ != nullptr) {
      to_pod_->OnResetCall(nullptr);
      to_pod_->Stop();
    }
    if (from_pod_ != nullptr) {
      from_pod_->Stop();
    }
    candidates_.clear();
    socket_ = nullptr;
  }

 private:
  struct Candidate {
    int family;
    SharedFd socket;
  };

  void Open() {
    give_up_ = Clock::time_point::max();  // the call has a limit of its own
    call_ = session_.context_.calls.Run<PodSockets>(
        [&backend = session_.context_.backend, id = session_.sandbox_id_](
            const base::OpContext& ctx) { return backend.OpenPodSockets(ctx, id); },
        [weak = weak_from_this()](absl::StatusOr<PodSockets> sockets) {
          if (const auto self = weak.lock(); self && !*self->call_) {
            self->OnSockets(std::move(sockets));
          }
        });
  }

  void OnSockets(absl::StatusOr<PodSockets> sockets) {
    if (!sockets.ok()) {
      Fail(std::string(sockets.status().message()));
      return;
    }
    boost::asio::io_context& io = session_.context_.io;
    // The last one is tried first.
    candidates_.push_back({AF_INET6, WatchFd(io, std::move(sockets->ipv6))});
    candidates_.push_back({AF_INET, WatchFd(io, std::move(sockets->ipv4))});
    ConnectNext(ENETUNREACH);
  }

  // error: why the candidate before could not be connected.
  void ConnectNext(int error) {
    socket_ = nullptr;
    while (!candidates_.empty() && candidates_.back().socket == nullptr) {
      candidates_.pop_back();
    }
    if (candidates_.empty()) {
      // What 127.0.0.1 said is what people expect to hear.
      const int cause = first_error_ != 0 ? first_error_ : error;
      Fail(fmt::format("connect to localhost in the pod's network namespace: {} ({})",
                       std::strerror(cause), cause));
      return;
    }
    const Candidate candidate = std::move(candidates_.back());
    candidates_.pop_back();
    socket_ = candidate.socket;
    const int result = ConnectToLoopback(socket_->native_handle(), candidate.family, port_);
    if (result != EINPROGRESS) {
      OnConnected(result);
      return;
    }
    give_up_ = Clock::now() + kConnectTimeout;
    socket_->async_wait(boost::asio::posix::descriptor_base::wait_write,
                        [weak = weak_from_this()](const boost::system::error_code& wait_error) {
                          if (const auto self = weak.lock(); self && !wait_error) {
                            self->OnConnected(SocketError(self->socket_->native_handle()));
                          }
                        });
  }

  void OnConnected(int error) {
    give_up_ = Clock::time_point::max();
    if (error == ECONNRESET) {  // connected, and broken by the pod before we looked
      OnPodEnd(error);
      return;
    }
    if (error != 0) {
      first_error_ = first_error_ != 0 ? first_error_ : error;
      ConnectNext(error);
      return;
    }
    candidates_.clear();
    from_pod_ = std::make_shared<FdReader>(socket_, data_, [this](int end) { OnPodEnd(end); });
    from_pod_->Start();
    to_pod_->Start(socket_, FdWriter::AtEnd::kShutdown, [this](int end) { OnClientEnd(end); });
  }

  // The pod sends no more.
  void OnPodEnd(int error) {
    pod_ended_ = true;
    error_->CloseWrite();
    if (error != 0) {
      data_->Reset();  // comes back as OnClientReset
      return;
    }
    data_->CloseWrite();
    // Over WebSocket a client has no way to say that it sends no more.
    client_ended_ = client_ended_ || session_.is_websocket_;
    FinishIfEnded();
  }

  // The client sends no more, or the pod takes no more.
  void OnClientEnd(int error) {
    client_ended_ = true;
    pod_refuses_ = error != 0;
    FinishIfEnded();
  }

  void FinishIfEnded() {
    if (!pod_ended_ || !client_ended_) {
      return;
    }
    const std::shared_ptr<Forward> self = shared_from_this();
    Release();
    if (pod_refuses_) {
      data_->Reset();
    }
    session_.Remove(request_);
  }

  void OnClientReset() {
    const std::shared_ptr<Forward> self = shared_from_this();
    Release();
    if (error_ != nullptr) {
      error_->CloseWrite();
    }
    session_.Remove(request_);
  }

  void Fail(std::string_view cause) {
    const std::shared_ptr<Forward> self = shared_from_this();
    const std::string text =
        fmt::format("error forwarding port {} to pod {}: {}", port_, session_.sandbox_id_, cause);
    base::Log("streaming").info("port not forwarded: {}", text);
    // What the client still sends is dropped: a stream without a sink keeps nothing.
    Release();
    if (error_ != nullptr) {
      error_->SendText(text);
      error_->CloseWrite();
    }
    if (data_ != nullptr) {
      data_->CloseWrite();
    }
    session_.Remove(request_);
  }

  PortForwardSession& session_;
  const std::string request_;
  const uint16_t port_;
  std::shared_ptr<ClientStream> data_, error_;
  Clock::time_point give_up_ = Clock::now() + session_.context_.creation_timeout;
  BackendCalls::Cancelled call_;
  std::vector<Candidate> candidates_;
  int first_error_ = 0;
  SharedFd socket_;
  std::shared_ptr<FdWriter> to_pod_;
  std::shared_ptr<FdReader> from_pod_;
  bool pod_ended_ = false;
  bool client_ended_ = false;
  bool pod_refuses_ = false;
};

PortForwardSession::PortForwardSession(const SessionContext& context, std::string sandbox_id,
                                       bool is_websocket)
    : context_(context), sandbox_id_(std::move(sandbox_id)), is_websocket_(is_websocket) {}

PortForwardSession::~PortForwardSession() { OnGone(); }

bool PortForwardSession::OnStream(std::shared_ptr<ClientStream> stream, uint32_t id,
                                  const StreamHeaders& headers) {
  const std::string_view type = headers.Get("streamtype");
  const std::string port_text(headers.Get("port"));
  uint32_t port = 0;
  if ((type != "data" && type != "error") || !absl::SimpleAtoi(port_text, &port) || port == 0 ||
      port > UINT16_MAX) {
    base::Log("streaming")
        .warn("stream refused type={} port={}", type.substr(0, 32), port_text.substr(0, 32));
    return false;
  }
  const bool is_data = type == "data";
  std::string request(headers.Get("requestid"));
  if (request.empty()) {
    // Clients before request ids open the error stream and then, at once, the data stream.
    request = std::to_string(is_data ? id - 2 : id);
  }
  std::shared_ptr<Forward>& forward = forwards_[request];
  if (forward == nullptr) {
    forward = std::make_shared<Forward>(*this, request, static_cast<uint16_t>(port));
  }
  return forward->port() == port && forward->Add(is_data, std::move(stream));
}

void PortForwardSession::Tick(Clock::time_point now) {
  std::vector<std::shared_ptr<Forward>> forwards;
  for (const auto& [request, forward] : forwards_) {
    forwards.push_back(forward);
  }
  for (const std::shared_ptr<Forward>& forward : forwards) {
    forward->Tick(now);
  }
}

void PortForwardSession::Remove(const std::string& request) {
  const std::string key = request;  // it dies with what is removed
  forwards_.erase(key);
  if (is_websocket_ && forwards_.empty()) {
    if (const std::shared_ptr<Client> client = client_.lock()) {
      client->Close();
    }
  }
}

void PortForwardSession::OnGone() {
  for (const auto& [request, forward] : forwards_) {
    forward->Release();
  }
  forwards_.clear();
}

}  // namespace berth::streaming
