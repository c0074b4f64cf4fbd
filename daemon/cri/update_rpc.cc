// CRI v1 UpdateContainerResources, UpdatePodSandboxResources.
#include "daemon/cri/call.h"
#include "daemon/cri/fields.h"
#include "daemon/cri/parse_security.h"
#include "daemon/cri/runtime_service.h"
#include "lib/base/status.h"

namespace berth::cri {

absl::Status RuntimeService::Update(const base::OpContext& ctx,
                                    const api::UpdateContainerResourcesRequest& request) {
  RETURN_IF_ERROR(CheckNotWindows("windows", request.windows()));
  ASSIGN_OR_RETURN(const model::Resources wanted, ParseResources("linux", request.linux()));
  ASSIGN_OR_RETURN(const auto annotations, ParseAnnotations("annotations", request.annotations()));
  return deps_.containers.UpdateResources(ctx, request.container_id(), wanted, annotations);
}

grpc::Status RuntimeService::UpdateContainerResources(
    grpc::ServerContext* context, const api::UpdateContainerResourcesRequest* request,
    api::UpdateContainerResourcesResponse*) {
  Call call("UpdateContainerResources", Call::Kind::kChange, context);
  call.Note("container", request->container_id());
  return call.End(Update(call.context(), *request));
}

// The pod's cgroup is the kubelet's: it has written it when it calls this. What is left is to know.
absl::Status RuntimeService::Update(const api::UpdatePodSandboxResourcesRequest& request) {
  ASSIGN_OR_RETURN(const model::Resources overhead, ParseResources("overhead", request.overhead()));
  ASSIGN_OR_RETURN(const model::Resources resources,
                   ParseResources("resources", request.resources()));
  return deps_.sandboxes.UpdateResources(request.pod_sandbox_id(), overhead, resources);
}

grpc::Status RuntimeService::UpdatePodSandboxResources(
    grpc::ServerContext* context, const api::UpdatePodSandboxResourcesRequest* request,
    api::UpdatePodSandboxResourcesResponse*) {
  Call call("UpdatePodSandboxResources", Call::Kind::kChange, context);
  call.Note("sandbox", request->pod_sandbox_id());
  return call.End(Update(*request));
}

}  // namespace berth::cri
