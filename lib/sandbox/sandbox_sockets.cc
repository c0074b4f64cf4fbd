// SandboxService::OpenSockets: the pod's network as its ports are reached from the node.
#include <sys/socket.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/netns/namespace.h"
#include "lib/sandbox/sandbox_files.h"
#include "lib/sandbox/sandbox_service.h"

namespace berth::sandbox {

namespace {

base::UniqueFd TcpSocket(int family) {
  return base::UniqueFd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// In the namespace of the thread it is called on, in which the sockets stay.
absl::Status OpenBoth(PodSockets& sockets) {
  sockets.ipv4 = TcpSocket(AF_INET);
  const int error = errno;
  sockets.ipv6 = TcpSocket(AF_INET6);
  if (!sockets.ipv4 && !sockets.ipv6) {
    return base::ErrnoStatus(error, "make a TCP socket");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SandboxPtr> SandboxService::GetReady(const std::string& id,
                                                    std::string_view what) const {
  ASSIGN_OR_RETURN(SandboxPtr record, Get(id));
  if (record->state != model::SandboxState::kReady) {
    return absl::FailedPreconditionError(
        fmt::format("{} pod sandbox '{}': it is not ready", what, record->id.value()));
  }
  return record;
}

absl::StatusOr<PodSockets> SandboxService::OpenSockets(const std::string& id) const {
  ASSIGN_OR_RETURN(const SandboxPtr record, GetReady(id, "reach a port of"));
  PodSockets sockets;
  const auto open = [&sockets] { return OpenBoth(sockets); };
  const std::string pin =
      netns::PinPath(deps_.paths.Namespaces(record->id), netns::NamespaceType::kNet);
  const absl::Status status = OwnsNetwork(record->spec)
                                  ? netns::RunInNamespaces(std::vector<std::string>{pin}, open)
                                  : open();
  if (absl::IsNotFound(status)) {  // stopped meanwhile
    return absl::FailedPreconditionError(status.message());
  }
  RETURN_IF_ERROR(
      base::Annotate(status, fmt::format("reach a port of pod sandbox '{}'", record->id.value())));
  return sockets;
}

}  // namespace berth::sandbox
