// CRI v1 CreateContainer to ReopenContainerLog.
#include "fmt/format.h"

#include "daemon/cri/call.h"
#include "daemon/cri/fields.h"
#include "daemon/cri/list_filter.h"
#include "daemon/cri/parse_container.h"
#include "daemon/cri/render_container.h"
#include "daemon/cri/runtime_service.h"
#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::cri {

namespace {

constexpr size_t kMaxRuntimeSpec = 16 << 20;

}  // namespace

absl::StatusOr<std::string> RuntimeService::Create(const base::OpContext& ctx,
                                                   const api::CreateContainerRequest& request) {
  ASSIGN_OR_RETURN(model::ContainerSpec spec, ParseContainer(request));
  ASSIGN_OR_RETURN(const sandbox::SandboxPtr pod, deps_.sandboxes.Get(request.pod_sandbox_id()));
  RETURN_IF_ERROR(CheckSandboxConfig(request.sandbox_config(), pod->spec));
  if (const std::string& ref = request.config().image().image_ref(); !ref.empty()) {
    ASSIGN_OR_RETURN(const auto wanted, deps_.images.Find(spec.image));
    const auto referred = deps_.images.Find(ref);
    if (!referred.ok() || (*referred)->id != wanted->id) {
      return FieldError("config.image.image_ref", "is not the id of config.image.image");
    }
  }
  ASSIGN_OR_RETURN(const model::ContainerId id,
                   deps_.containers.Create(ctx, request.pod_sandbox_id(), std::move(spec)));
  return id.value();
}

grpc::Status RuntimeService::CreateContainer(grpc::ServerContext* context,
                                             const api::CreateContainerRequest* request,
                                             api::CreateContainerResponse* response) {
  Call call("CreateContainer", Call::Kind::kChange, context);
  const absl::StatusOr<std::string> id = Create(call.context(), *request);
  call.Note("container", id.value_or(""));
  call.Note("sandbox", request->pod_sandbox_id());
  call.Note("name", request->config().metadata().name());
  response->set_container_id(id.value_or(""));
  return call.End(id.status());
}

grpc::Status RuntimeService::StartContainer(grpc::ServerContext* context,
                                            const api::StartContainerRequest* request,
                                            api::StartContainerResponse*) {
  Call call("StartContainer", Call::Kind::kChange, context);
  call.Note("container", request->container_id());
  return call.End(deps_.containers.Start(call.context(), request->container_id()));
}

grpc::Status RuntimeService::StopContainer(grpc::ServerContext* context,
                                           const api::StopContainerRequest* request,
                                           api::StopContainerResponse*) {
  Call call("StopContainer", Call::Kind::kChange, context);
  call.Note("container", request->container_id());
  if (request->timeout() < 0) {
    return call.End(absl::InvalidArgumentError(
        fmt::format("timeout is {}; 0 or more are allowed", request->timeout())));
  }
  return call.End(deps_.containers.Stop(call.context(), request->container_id(),
                                        absl::Seconds(request->timeout())));
}

grpc::Status RuntimeService::RemoveContainer(grpc::ServerContext* context,
                                             const api::RemoveContainerRequest* request,
                                             api::RemoveContainerResponse*) {
  Call call("RemoveContainer", Call::Kind::kChange, context);
  call.Note("container", request->container_id());
  return call.End(deps_.containers.Remove(call.context(), request->container_id()));
}

api::ContainerStatus RuntimeService::RenderStatus(const model::ContainerRecord& record) {
  // The image may have been removed meanwhile, or the record be older than the image's last pull.
  const auto image = deps_.images.Find(record.image_id);
  return RenderContainerStatus(record, image.ok() ? image->get() : nullptr);
}

absl::Status RuntimeService::Show(const base::OpContext& ctx,
                                  const api::ContainerStatusRequest& request,
                                  api::ContainerStatusResponse& response) {
  ASSIGN_OR_RETURN(const container::ContainerPtr record,
                   deps_.containers.Get(request.container_id()));
  *response.mutable_status() = RenderStatus(*record);
  if (request.verbose()) {
    // Gone with the bundle after a reboot.
    const auto spec = base::ReadFile(deps_.paths.BundleConfig(record->id), kMaxRuntimeSpec);
    (*response.mutable_info())["info"] =
        ContainerInfo(*record, spec.value_or(""), deps_.containers.LostLogBytes(ctx, *record));
  }
  return absl::OkStatus();
}

grpc::Status RuntimeService::ContainerStatus(grpc::ServerContext* context,
                                             const api::ContainerStatusRequest* request,
                                             api::ContainerStatusResponse* response) {
  Call call("ContainerStatus", Call::Kind::kRead, context);
  call.Note("container", request->container_id());
  return call.End(Show(call.context(), *request, *response));
}

// The ids of a filter, from prefixes to ids in full. False: one of them names nothing, so the list
// is empty.
absl::StatusOr<bool> RuntimeService::ResolveIds(const api::ContainerFilter& request,
                                                ContainerFilter& filter) {
  if (!request.id().empty()) {
    const absl::StatusOr<container::ContainerPtr> wanted = deps_.containers.Get(request.id());
    if (absl::IsNotFound(wanted.status())) {
      return false;
    }
    RETURN_IF_ERROR(wanted.status());
    filter.id = (*wanted)->id.value();
  }
  if (!request.pod_sandbox_id().empty()) {
    const absl::StatusOr<sandbox::SandboxPtr> wanted =
        deps_.sandboxes.Get(request.pod_sandbox_id());
    if (absl::IsNotFound(wanted.status())) {
      return false;
    }
    RETURN_IF_ERROR(wanted.status());
    filter.sandbox_id = (*wanted)->id.value();
  }
  return true;
}

absl::StatusOr<std::vector<container::ContainerPtr>> RuntimeService::Select(
    const api::ContainerFilter& request) {
  std::vector<container::ContainerPtr> list;
  ASSIGN_OR_RETURN(ContainerFilter filter, ParseFilter(request));
  ASSIGN_OR_RETURN(const bool may_match, ResolveIds(request, filter));
  if (may_match) {
    list = deps_.containers.List();
    std::erase_if(list,
                  [&](const container::ContainerPtr& record) { return !Matches(filter, *record); });
  }
  return list;
}

grpc::Status RuntimeService::ListContainers(grpc::ServerContext* context,
                                            const api::ListContainersRequest* request,
                                            api::ListContainersResponse* response) {
  Call call("ListContainers", Call::Kind::kRead, context);
  const auto list = Select(request->filter());
  if (list.ok()) {
    for (const container::ContainerPtr& record : *list) {
      *response->add_containers() = RenderContainer(*record);
    }
  }
  return call.End(list.status());
}

grpc::Status RuntimeService::ReopenContainerLog(grpc::ServerContext* context,
                                                const api::ReopenContainerLogRequest* request,
                                                api::ReopenContainerLogResponse*) {
  Call call("ReopenContainerLog", Call::Kind::kChange, context);
  call.Note("container", request->container_id());
  return call.End(deps_.containers.ReopenLog(call.context(), request->container_id()));
}

}  // namespace berth::cri
