// CRI v1 Version, Status, RuntimeConfig, UpdateRuntimeConfig.
#include "fmt/format.h"

#include "daemon/cri/call.h"
#include "daemon/cri/fields.h"
#include "daemon/cri/render_node.h"
#include "daemon/cri/runtime_service.h"
#include "daemon/cri/text.h"

namespace berth::cri {

grpc::Status RuntimeService::Version(grpc::ServerContext* context,
                                     const api::VersionRequest* request,
                                     api::VersionResponse* response) {
  Call call("Version", Call::Kind::kRead, context);
  call.Note("caller", request->version());  // there is one version to answer with
  response->set_version("0.1.0");           // of the kubelet's interface, since it began
  response->set_runtime_name("berth");
  response->set_runtime_version(BERTH_VERSION);
  response->set_runtime_api_version("v1");
  return call.End(absl::OkStatus());
}

std::string RuntimeService::NodeInfo() {
  std::string pod_cidr;
  {
    base::MutexLock lock(mu_);
    pod_cidr = pod_cidr_;
  }
  return fmt::format(R"({{"defaultRuntime":{},"runtimes":{},"podCIDR":{},"toml":{}}})",
                     JsonString(deps_.handlers.default_handler().name),
                     HandlersJson(deps_.handlers), JsonString(pod_cidr),
                     JsonString(deps_.config_toml));
}

grpc::Status RuntimeService::Status(grpc::ServerContext* context, const api::StatusRequest* request,
                                    api::StatusResponse* response) {
  Call call("Status", Call::Kind::kRead, context);
  *response->mutable_status() = RenderConditions(deps_.network_health.Ready(call.context()));
  // Without volumes in memory hardly any pod of a kubelet's could have one.
  sandbox::UserNamespaces& users = deps_.sandboxes.user_namespaces();
  const bool has_users = users.ForPods().ok() && users.ForVolumes().ok();
  RenderHandlers(deps_.handlers, has_users, *response);
  *response->mutable_features() = RenderFeatures(has_users);
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

// Tells of the pods' address range. Berth's pods get their addresses from CNI, whose configuration
// is the cluster's, so all there is to do is to keep it and show it (Status, verbose). The answer
// is OK because nothing is left undone; a kubelet that got an error here would write its whole node
// status to the API server every few seconds.
grpc::Status RuntimeService::UpdateRuntimeConfig(grpc::ServerContext* context,
                                                 const api::UpdateRuntimeConfigRequest* request,
                                                 api::UpdateRuntimeConfigResponse*) {
  Call call("UpdateRuntimeConfig", Call::Kind::kChange, context);
  const std::string& pod_cidr = request->runtime_config().network_config().pod_cidr();
  call.Note("pod_cidr", pod_cidr);
  if (absl::Status status = CheckWord("runtime_config.network_config.pod_cidr", pod_cidr);
      !status.ok()) {
    return call.End(status);
  }
  if (!pod_cidr.empty()) {
    base::MutexLock lock(mu_);
    pod_cidr_ = pod_cidr;
  }
  return call.End(absl::OkStatus());
}

}  // namespace berth::cri
