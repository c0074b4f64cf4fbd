#include "daemon/app/server.h"

#include <sys/stat.h>

#include <cerrno>
#include <chrono>

#include "absl/time/time.h"
#include "fmt/format.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

#include "daemon/cri/admin_service.h"
#include "daemon/cri/image_service.h"
#include "daemon/cri/runtime_service.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::app {

namespace {

// A kubelet may hold hundreds of StopContainer calls with long grace periods; each keeps a thread.
constexpr int kMaxThreads = 4096;
// As CRI-O: 80 MiB hold the status of some thousand containers.
constexpr int kMaxMessageBytes = 80 << 20;

}  // namespace

struct Server::Parts {
  Parts(const config::Config& config, Node& node, streaming::StreamServer& streams)
      : runtime({node.sandboxes(), node.containers(), node.images(), node.stats(),
                 node.network_health(), node.handlers(), node.paths(), node.cgroups().driver(),
                 node.events(), streams, config::ToToml(config)}),
        images(node.images(), node.containers(), node.stats(), node.paths().root()),
        admin({node.sandboxes(), node.containers(), node.images(), node.stats(), node.networks(),
               node.network_health(), node.handlers(), node.cgroups(), node.paths(),
               node.check_deps(), config.api.listen, config::ToToml(config)}),
        events(node.events()) {}

  cri::RuntimeService runtime;
  cri::ImageService images;
  cri::AdminService admin;
  events::EventBus& events;
  std::unique_ptr<grpc::Server> server;
};

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Server::~Server() { Stop(); }

absl::StatusOr<std::unique_ptr<Server>> Server::Create(const config::Config& config, Node& node,
                                                       streaming::StreamServer& streams) {
  const std::string path = config.api.SocketPath();
  RETURN_IF_ERROR(base::MakeDirs(path.substr(0, std::max<size_t>(1, path.rfind('/'))), 0755));
  RETURN_IF_ERROR(CheckSocketFree(path));

  auto parts = std::make_unique<Parts>(config, node, streams);
  grpc::ResourceQuota quota("berthd");
  quota.SetMaxThreads(kMaxThreads);
  grpc::ServerBuilder builder;
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  // Few pollers are kept idle; more are started as calls come.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  int port = 0;
  builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&parts->runtime);
  builder.RegisterService(&parts->images);
  builder.RegisterService(&parts->admin);
  // The socket is never open to others, not even for the moment before its mode is set.
  const mode_t old_mask = ::umask(0117);
  parts->server = builder.BuildAndStart();
  ::umask(old_mask);
  if (parts->server == nullptr || port == 0) {
    return absl::UnavailableError(fmt::format(
        "listen on '{}': see the lines before; does its directory exist and allow it?", path));
  }
  if (::chmod(path.c_str(), 0660) != 0) {
    return base::ErrnoStatus(errno, fmt::format("set the mode of '{}'", path));
  }
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

void Server::Stop() {
  if (parts_->server == nullptr) {
    return;
  }
  parts_->events.Close();  // its RPCs would not end by themselves
  parts_->server->Shutdown(std::chrono::system_clock::now() +
                           absl::ToChronoMilliseconds(kFinishBudget));
  parts_->server->Wait();
  parts_->server.reset();
}

}  // namespace berth::app
