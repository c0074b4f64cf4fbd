#include "daemon/cri/admin_service.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "daemon/cri/call.h"
#include "daemon/cri/fields.h"
#include "daemon/cri/text.h"
#include "lib/base/status.h"

namespace berth::cri {

namespace {

std::string MessageOf(const absl::Status& status) {
  return ToUtf8(std::string_view(status.message().data(), status.message().size()));
}

}  // namespace

absl::Status AdminService::ImportImages(const base::OpContext& ctx,
                                        const admin::ImportRequest& request,
                                        admin::ImportResponse& response) {
  RETURN_IF_ERROR(CheckAbsolutePath("path", request.path()));
  for (const std::string& name : request.names()) {
    RETURN_IF_ERROR(CheckName("names", name, kMaxImageNameBytes));
  }
  ASSIGN_OR_RETURN(
      const auto imported,
      deps_.images.Import(ctx, request.path(), {request.names().begin(), request.names().end()}));
  for (const auto& [id, skipped] : imported) {
    admin::ImportedImage& image = *response.add_images();
    image.set_id(id);
    for (const std::string& platform : skipped) {
      image.add_skipped_platforms(ToUtf8(platform));
    }
    // Somebody may have removed it by now.
    if (const auto record = deps_.images.Find(id); record.ok()) {
      image.mutable_names()->Assign((*record)->repo_tags.begin(), (*record)->repo_tags.end());
      image.mutable_names()->Add((*record)->repo_digests.begin(), (*record)->repo_digests.end());
      image.set_size((*record)->size_bytes);
    }
  }
  return absl::OkStatus();
}

grpc::Status AdminService::Import(grpc::ServerContext* context, const admin::ImportRequest* request,
                                  admin::ImportResponse* response) {
  Call call("Import", Call::Kind::kChange, context);
  call.Note("path", request->path());
  return call.End(ImportImages(call.context(), *request, *response));
}

void AdminService::ShowStorage(admin::StorageStatus& storage) {
  const image::FsUsage images = deps_.images.Usage();
  const snapshot::Usage writable = deps_.stats.WritableLayers(deps_.containers.List());
  storage.set_used_bytes(images.bytes + writable.bytes);
  storage.set_used_inodes(images.inodes + writable.inodes);
}

void AdminService::ShowCounts(admin::CountStatus& counts) {
  counts.set_images(deps_.images.List().size());
  for (const sandbox::SandboxPtr& record : deps_.sandboxes.List()) {
    if (record->state == model::SandboxState::kReady) {
      counts.set_sandboxes_ready(counts.sandboxes_ready() + 1);
    } else {
      counts.set_sandboxes_not_ready(counts.sandboxes_not_ready() + 1);
    }
  }
  for (const container::ContainerPtr& record : deps_.containers.List()) {
    switch (record->state()) {
      case model::ContainerState::kCreating:
      case model::ContainerState::kCreated:
        counts.set_containers_created(counts.containers_created() + 1);
        break;
      case model::ContainerState::kRunning:
        counts.set_containers_running(counts.containers_running() + 1);
        break;
      case model::ContainerState::kExited:
        counts.set_containers_exited(counts.containers_exited() + 1);
        break;
    }
  }
}

void AdminService::ShowNetwork(const base::OpContext& ctx, admin::NetworkStatus& network) {
  const absl::Status ready = deps_.network_health.Ready(ctx);
  network.set_ready(ready.ok());
  network.set_reason(MessageOf(ready));
  if (const auto config = deps_.networks.Default(); config.ok()) {
    network.set_name((*config)->name);
  }
}

void AdminService::ShowHandlers(admin::NodeStatusResponse& response) {
  std::vector<admin::HandlerStatus> all;
  for (const runtime::Handler& handler : deps_.handlers.handlers()) {
    admin::HandlerStatus& status = all.emplace_back();
    status.set_name(handler.name);
    status.set_path(handler.path);
    status.set_version(ToUtf8(handler.version));
    status.set_ok(true);
    status.set_is_default(handler.name == deps_.handlers.default_handler().name);
  }
  for (const runtime::BrokenHandler& handler : deps_.handlers.broken()) {
    admin::HandlerStatus& status = all.emplace_back();
    status.set_name(handler.name);
    status.set_error(MessageOf(handler.error));
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  response.mutable_handlers()->Assign(all.begin(), all.end());
}

grpc::Status AdminService::NodeStatus(grpc::ServerContext* context, const admin::NodeStatusRequest*,
                                      admin::NodeStatusResponse* response) {
  Call call("NodeStatus", Call::Kind::kRead, context);
  response->set_version(BERTH_VERSION);
  response->set_pid(::getpid());
  response->set_uptime_ns(absl::ToInt64Nanoseconds(absl::Now() - began_));
  response->set_root(deps_.paths.root());
  response->set_state(deps_.paths.state());
  response->set_socket(deps_.listen);
  ShowCounts(*response->mutable_counts());
  ShowNetwork(call.context(), *response->mutable_network());
  ShowHandlers(*response);
  response->mutable_cgroup()->set_driver(std::string(cgroup::DriverName(deps_.cgroups.driver())));
  response->mutable_cgroup()->set_version(
      deps_.cgroups.hierarchy().version() == cgroup::Version::kV2 ? 2 : 1);
  ShowStorage(*response->mutable_storage());
  return call.End(absl::OkStatus());
}

grpc::Status AdminService::EffectiveConfig(grpc::ServerContext* context,
                                           const admin::EffectiveConfigRequest*,
                                           admin::EffectiveConfigResponse* response) {
  Call call("EffectiveConfig", Call::Kind::kRead, context);
  response->set_toml(deps_.config_toml);
  return call.End(absl::OkStatus());
}

}  // namespace berth::cri
