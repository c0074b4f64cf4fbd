// CRI v1 RunPodSandbox to ListPodSandbox.
#include "fmt/format.h"

#include "daemon/cri/call.h"
#include "daemon/cri/list_filter.h"
#include "daemon/cri/parse_sandbox.h"
#include "daemon/cri/render_sandbox.h"
#include "daemon/cri/runtime_service.h"
#include "lib/base/status.h"

namespace berth::cri {

absl::StatusOr<std::string> RuntimeService::Run(const base::OpContext& ctx,
                                                const api::RunPodSandboxRequest& request) {
  ASSIGN_OR_RETURN(model::SandboxSpec spec, ParseSandbox(request));
  // A pod is bound to its handler for life, so one that does not exist is refused before anything
  // is made.
  const auto handler = deps_.handlers.Get(spec.runtime_handler);
  if (!handler.ok()) {
    return absl::InvalidArgumentError(handler.status().message());
  }
  if (spec.namespaces.user == model::NamespaceMode::kPod && !(*handler)->features.user_namespaces) {
    return absl::FailedPreconditionError(fmt::format(
        "config.linux.security_context.namespace_options.userns_options asks for a user namespace, "
        "which runtime handler '{}' ({}) does not support",
        (*handler)->name, (*handler)->version));
  }
  ASSIGN_OR_RETURN(const model::SandboxId id, deps_.sandboxes.Run(ctx, std::move(spec)));
  return id.value();
}

grpc::Status RuntimeService::RunPodSandbox(grpc::ServerContext* context,
                                           const api::RunPodSandboxRequest* request,
                                           api::RunPodSandboxResponse* response) {
  Call call("RunPodSandbox", Call::Kind::kChange, context);
  const absl::StatusOr<std::string> id = Run(call.context(), *request);
  call.Note("sandbox", id.value_or(""));
  call.Note("ns", request->config().metadata().namespace_());
  call.Note("pod", request->config().metadata().name());
  response->set_pod_sandbox_id(id.value_or(""));
  return call.End(id.status());
}

grpc::Status RuntimeService::StopPodSandbox(grpc::ServerContext* context,
                                            const api::StopPodSandboxRequest* request,
                                            api::StopPodSandboxResponse*) {
  Call call("StopPodSandbox", Call::Kind::kChange, context);
  call.Note("sandbox", request->pod_sandbox_id());
  return call.End(deps_.containers.StopPod(call.context(), request->pod_sandbox_id()));
}

grpc::Status RuntimeService::RemovePodSandbox(grpc::ServerContext* context,
                                              const api::RemovePodSandboxRequest* request,
                                              api::RemovePodSandboxResponse*) {
  Call call("RemovePodSandbox", Call::Kind::kChange, context);
  call.Note("sandbox", request->pod_sandbox_id());
  return call.End(deps_.containers.RemovePod(call.context(), request->pod_sandbox_id()));
}

absl::Status RuntimeService::Show(const api::PodSandboxStatusRequest& request,
                                  api::PodSandboxStatusResponse& response) {
  const int64_t now_ns = absl::ToUnixNanos(absl::Now());  // what follows is at least as new
  ASSIGN_OR_RETURN(const sandbox::SandboxPtr record, deps_.sandboxes.Get(request.pod_sandbox_id()));
  *response.mutable_status() = RenderSandboxStatus(*record);
  for (const container::ContainerPtr& container : deps_.containers.ListOf(record->id)) {
    *response.add_containers_statuses() = RenderStatus(*container);
  }
  response.set_timestamp(now_ns);
  if (request.verbose()) {
    (*response.mutable_info())["info"] = SandboxInfo(*record);
  }
  return absl::OkStatus();
}

grpc::Status RuntimeService::PodSandboxStatus(grpc::ServerContext* context,
                                              const api::PodSandboxStatusRequest* request,
                                              api::PodSandboxStatusResponse* response) {
  Call call("PodSandboxStatus", Call::Kind::kRead, context);
  call.Note("sandbox", request->pod_sandbox_id());
  return call.End(Show(*request, *response));
}

absl::StatusOr<std::vector<sandbox::SandboxPtr>> RuntimeService::Select(
    const api::PodSandboxFilter& request) {
  std::vector<sandbox::SandboxPtr> list;
  ASSIGN_OR_RETURN(SandboxFilter filter, ParseFilter(request));
  if (!request.id().empty()) {
    const absl::StatusOr<sandbox::SandboxPtr> wanted = deps_.sandboxes.Get(request.id());
    if (absl::IsNotFound(wanted.status())) {
      return list;
    }
    RETURN_IF_ERROR(wanted.status());
    filter.id = (*wanted)->id.value();
  }
  list = deps_.sandboxes.List();
  std::erase_if(list, [&](const sandbox::SandboxPtr& record) { return !Matches(filter, *record); });
  return list;
}

grpc::Status RuntimeService::ListPodSandbox(grpc::ServerContext* context,
                                            const api::ListPodSandboxRequest* request,
                                            api::ListPodSandboxResponse* response) {
  Call call("ListPodSandbox", Call::Kind::kRead, context);
  const auto list = Select(request->filter());
  if (list.ok()) {
    for (const sandbox::SandboxPtr& record : *list) {
      *response->add_items() = RenderSandbox(*record);
    }
  }
  return call.End(list.status());
}

}  // namespace berth::cri
