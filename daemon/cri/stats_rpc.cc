// CRI v1 ContainerStats to StreamPodSandboxStats.
#include <algorithm>
#include <vector>

#include "daemon/cri/call.h"
#include "daemon/cri/list_filter.h"
#include "daemon/cri/list_stream.h"
#include "daemon/cri/render_stats.h"
#include "daemon/cri/runtime_service.h"
#include "lib/base/status.h"

namespace berth::cri {

namespace {

// Calls `send` with each part of `all`, which are never empty, so that what is measured is no older
// than its message. It says whether the client reads on.
template <typename T, typename Send>
absl::Status InParts(const base::OpContext& ctx, const std::vector<T>& all, const Send& send) {
  for (size_t begin = 0; begin < all.size(); begin += kMaxItemsPerPart) {
    RETURN_IF_ERROR(ctx.Check());
    const size_t count = std::min(kMaxItemsPerPart, all.size() - begin);
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(begin);
    if (!send(std::vector<T>(first, first + static_cast<std::ptrdiff_t>(count)))) {
      return absl::CancelledError("the caller went away");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<container::ContainerPtr>> RuntimeService::Select(
    const api::ContainerStatsFilter& wanted) {
  api::ContainerFilter ids;
  ids.set_id(wanted.id());
  ids.set_pod_sandbox_id(wanted.pod_sandbox_id());
  ContainerFilter filter;
  filter.labels = {wanted.label_selector().begin(), wanted.label_selector().end()};
  ASSIGN_OR_RETURN(const bool may_match, ResolveIds(ids, filter));
  std::vector<container::ContainerPtr> list;
  if (may_match) {
    list = deps_.containers.List();
    std::erase_if(list, [&](const auto& record) { return !Matches(filter, *record); });
  }
  return list;
}

absl::StatusOr<std::vector<sandbox::SandboxPtr>> RuntimeService::Select(
    const api::PodSandboxStatsFilter& wanted) {
  SandboxFilter filter;
  filter.labels = {wanted.label_selector().begin(), wanted.label_selector().end()};
  std::vector<sandbox::SandboxPtr> list;
  if (!wanted.id().empty()) {
    const absl::StatusOr<sandbox::SandboxPtr> found = deps_.sandboxes.Get(wanted.id());
    if (absl::IsNotFound(found.status())) {
      return list;
    }
    RETURN_IF_ERROR(found.status());
    filter.id = (*found)->id.value();
  }
  list = deps_.sandboxes.List();
  std::erase_if(list, [&](const auto& record) { return !Matches(filter, *record); });
  return list;
}

absl::Status RuntimeService::Show(const base::OpContext& ctx,
                                  const api::ContainerStatsRequest& request,
                                  api::ContainerStatsResponse& response) {
  ASSIGN_OR_RETURN(const container::ContainerPtr record,
                   deps_.containers.Get(request.container_id()));
  *response.mutable_stats() =
      RenderStats(deps_.stats.OfContainers(ctx, {record})[0], deps_.paths.root());
  return absl::OkStatus();
}

grpc::Status RuntimeService::ContainerStats(grpc::ServerContext* context,
                                            const api::ContainerStatsRequest* request,
                                            api::ContainerStatsResponse* response) {
  Call call("ContainerStats", Call::Kind::kRead, context);
  call.Note("container", request->container_id());
  return call.End(Show(call.context(), *request, *response));
}

absl::Status RuntimeService::List(const base::OpContext& ctx,
                                  const api::ListContainerStatsRequest& request,
                                  api::ListContainerStatsResponse& response) {
  ASSIGN_OR_RETURN(const auto containers, Select(request.filter()));
  for (const stats::ContainerStats& stats : deps_.stats.OfContainers(ctx, containers)) {
    *response.add_stats() = RenderStats(stats, deps_.paths.root());
  }
  return absl::OkStatus();
}

grpc::Status RuntimeService::ListContainerStats(grpc::ServerContext* context,
                                                const api::ListContainerStatsRequest* request,
                                                api::ListContainerStatsResponse* response) {
  Call call("ListContainerStats", Call::Kind::kRead, context);
  return call.End(List(call.context(), *request, *response));
}

absl::Status RuntimeService::Send(const base::OpContext& ctx,
                                  const api::StreamContainerStatsRequest& request,
                                  grpc::ServerWriter<api::StreamContainerStatsResponse>& writer) {
  ASSIGN_OR_RETURN(const auto containers, Select(request.filter()));
  return InParts(ctx, containers, [&](const std::vector<container::ContainerPtr>& part) {
    api::StreamContainerStatsResponse message;
    for (const stats::ContainerStats& stats : deps_.stats.OfContainers(ctx, part)) {
      *message.add_container_stats() = RenderStats(stats, deps_.paths.root());
    }
    return writer.Write(message);
  });
}

grpc::Status RuntimeService::StreamContainerStats(
    grpc::ServerContext* context, const api::StreamContainerStatsRequest* request,
    grpc::ServerWriter<api::StreamContainerStatsResponse>* writer) {
  Call call("StreamContainerStats", Call::Kind::kRead, context);
  return call.End(Send(call.context(), *request, *writer));
}

absl::Status RuntimeService::Show(const base::OpContext& ctx,
                                  const api::PodSandboxStatsRequest& request,
                                  api::PodSandboxStatsResponse& response) {
  ASSIGN_OR_RETURN(const sandbox::SandboxPtr record, deps_.sandboxes.Get(request.pod_sandbox_id()));
  *response.mutable_stats() = RenderStats(
      deps_.stats.OfPods(ctx, {record}, deps_.containers.List())[0], deps_.paths.root());
  return absl::OkStatus();
}

grpc::Status RuntimeService::PodSandboxStats(grpc::ServerContext* context,
                                             const api::PodSandboxStatsRequest* request,
                                             api::PodSandboxStatsResponse* response) {
  Call call("PodSandboxStats", Call::Kind::kRead, context);
  call.Note("sandbox", request->pod_sandbox_id());
  return call.End(Show(call.context(), *request, *response));
}

absl::Status RuntimeService::List(const base::OpContext& ctx,
                                  const api::ListPodSandboxStatsRequest& request,
                                  api::ListPodSandboxStatsResponse& response) {
  ASSIGN_OR_RETURN(const auto pods, Select(request.filter()));
  for (const stats::PodStats& stats : deps_.stats.OfPods(ctx, pods, deps_.containers.List())) {
    *response.add_stats() = RenderStats(stats, deps_.paths.root());
  }
  return absl::OkStatus();
}

grpc::Status RuntimeService::ListPodSandboxStats(grpc::ServerContext* context,
                                                 const api::ListPodSandboxStatsRequest* request,
                                                 api::ListPodSandboxStatsResponse* response) {
  Call call("ListPodSandboxStats", Call::Kind::kRead, context);
  return call.End(List(call.context(), *request, *response));
}

absl::Status RuntimeService::Send(const base::OpContext& ctx,
                                  const api::StreamPodSandboxStatsRequest& request,
                                  grpc::ServerWriter<api::StreamPodSandboxStatsResponse>& writer) {
  ASSIGN_OR_RETURN(const auto pods, Select(request.filter()));
  return InParts(ctx, pods, [&](const std::vector<sandbox::SandboxPtr>& part) {
    api::StreamPodSandboxStatsResponse message;
    for (const stats::PodStats& stats : deps_.stats.OfPods(ctx, part, deps_.containers.List())) {
      *message.add_pod_sandbox_stats() = RenderStats(stats, deps_.paths.root());
    }
    return writer.Write(message);
  });
}

grpc::Status RuntimeService::StreamPodSandboxStats(
    grpc::ServerContext* context, const api::StreamPodSandboxStatsRequest* request,
    grpc::ServerWriter<api::StreamPodSandboxStatsResponse>* writer) {
  Call call("StreamPodSandboxStats", Call::Kind::kRead, context);
  return call.End(Send(call.context(), *request, *writer));
}

}  // namespace berth::cri
