#include "cmd/berthctl/client.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "absl/time/clock.h"

#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::berthctl {
namespace {

constexpr char kAdvice[] =
    "is berthd running? see `systemctl status berth`, or name its socket with --socket";

absl::StatusOr<std::string> SocketPath(const std::string& socket) {
  const std::string path = socket.starts_with("unix://") ? socket.substr(7) : socket;
  if (!path.starts_with('/') || path.size() >= sizeof(sockaddr_un::sun_path)) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                            fmt::format("socket '{}': expected unix:///PATH of at most {} bytes",
                                        socket, sizeof(sockaddr_un::sun_path) - 1));
  }
  return path;
}

// gRPC would say the same for every reason, and only after its own retries.
absl::Status TryConnect(const std::string& path) {
  const base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  if (!fd.valid() ||
      connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  const std::string what = fmt::format("connect to '{}'", path);
  switch (error) {
    case ENOENT:
      return base::MakeStatus(absl::StatusCode::kNotFound,
                              fmt::format("{}: no such socket; {}", what, kAdvice));
    case ECONNREFUSED:
      return base::MakeStatus(absl::StatusCode::kUnavailable,
                              fmt::format("{}: nobody listens; {}", what, kAdvice));
    case EACCES:
      return base::MakeStatus(absl::StatusCode::kPermissionDenied,
                              fmt::format("{}: not permitted; the socket is root's", what));
    default:
      return base::ErrnoStatus(error, what);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const std::string& socket) {
  ASSIGN_OR_RETURN(const std::string path, SocketPath(socket));
  RETURN_IF_ERROR(TryConnect(path));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // lists of a full node exceed gRPC's 4 MiB
  return std::unique_ptr<Client>(new Client(
      path,
      grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), arguments)));
}

Client::Client(std::string socket, const std::shared_ptr<grpc::Channel>& channel)
    : socket_(std::move(socket)),
      runtime_(runtime::v1::RuntimeService::NewStub(channel)),
      images_(runtime::v1::ImageService::NewStub(channel)),
      admin_(v1::Admin::NewStub(channel)) {}

absl::Status Client::Call(const std::string& what, absl::Duration timeout, Interrupt* interrupt,
                          const std::function<grpc::Status(grpc::ClientContext*)>& call) {
  grpc::ClientContext context;
  if (timeout != absl::InfiniteDuration()) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  }
  if (interrupt != nullptr) {
    interrupt->SetCall(&context);
  }
  const grpc::Status status = call(&context);
  if (interrupt != nullptr) {
    interrupt->SetCall(nullptr);
  }
  if (status.ok()) {
    return absl::OkStatus();
  }
  std::string message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    message = fmt::format(
        "the server at '{}' does not know this call: it is another runtime or another version",
        socket_);
  }
  // The codes of gRPC and of Abseil are the same numbers.
  return base::MakeStatus(static_cast<absl::StatusCode>(status.error_code()),
                          fmt::format("{}: {}", what, message));
}

}  // namespace berth::berthctl
