// CRI v1 Version, Status, RuntimeConfig.
#include "fmt/format.h"

#include "daemon/cri/call.h"
#include "daemon/cri/render_node.h"
#include "daemon/cri/runtime_service.h"
#include "daemon/cri/text.h"

namespace berth::cri {

grpc::Status RuntimeService::Version(grpc::ServerContext*, const api::VersionRequest*,
                                     api::VersionResponse* response) {
  response->set_version("0.1.0");  // of the kubelet's interface, since it began
  response->set_runtime_name("berth");
  response->set_runtime_version(BERTH_VERSION);
  response->set_runtime_api_version("v1");
  return grpc::Status::OK;
}

std::string RuntimeService::NodeInfo() const {
  return fmt::format(R"({{"defaultRuntime":{},"toml":{}}})",
                     JsonString(deps_.handlers.default_handler().name),
                     JsonString(deps_.config_toml));
}

grpc::Status RuntimeService::Status(grpc::ServerContext* context, const api::StatusRequest* request,
                                    api::StatusResponse* response) {
  Call call("Status", Call::Kind::kRead, context);
  *response->mutable_status() = RenderConditions(deps_.networks.Ready());
  RenderHandlers(deps_.handlers, *response);
  *response->mutable_features() = RenderFeatures();
  if (request->verbose()) {
    (*response->mutable_info())["config"] = NodeInfo();
  }
  return call.End(absl::OkStatus());
}

grpc::Status RuntimeService::RuntimeConfig(grpc::ServerContext* context,
                                           const api::RuntimeConfigRequest*,
                                           api::RuntimeConfigResponse* response) {
  Call call("RuntimeConfig", Call::Kind::kRead, context);
  response->mutable_linux()->set_cgroup_driver(RenderDriver(deps_.cgroup_driver));
  return call.End(absl::OkStatus());
}

}  // namespace berth::cri
