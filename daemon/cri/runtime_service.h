// RuntimeService: the CRI's runtime service. Each RPC is parse, call, render; what pods and
// containers are is the services' business (lib/sandbox, lib/container).
//
// RPCs by file: sandbox_rpc.cc, container_rpc.cc, update_rpc.cc, exec_rpc.cc, stats_rpc.cc,
// stream_rpc.cc, events_rpc.cc, list_stream_rpc.cc, status_rpc.cc; those not served yet are in
// unserved_rpc.cc. Threads: thread-safe; gRPC calls it on a thread per request, which may block for
// as long as the request may. Ownership: borrows everything in RuntimeServiceDeps. Source: CRI v1
// RuntimeService.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "daemon/cri/cri_api.h"
#include "daemon/cri/list_filter.h"
#include "daemon/streaming/stream_server.h"
#include "lib/base/mutex.h"
#include "lib/cgroup/cgroup_path.h"
#include "lib/cni/network_health.h"
#include "lib/container/container_service.h"
#include "lib/events/event_bus.h"
#include "lib/image/image_service.h"
#include "lib/runtime/runtime_handlers.h"
#include "lib/sandbox/sandbox_service.h"
#include "lib/stats/stats_service.h"
#include "lib/store/paths.h"
#include "runtime/v1/api.grpc.pb.h"

namespace berth::cri {

struct RuntimeServiceDeps {
  sandbox::SandboxService& sandboxes;
  container::ContainerService& containers;
  image::ImageService& images;
  stats::StatsService& stats;
  cni::NetworkHealth& network_health;
  const runtime::RuntimeHandlers& handlers;
  const store::Paths& paths;
  cgroup::Driver cgroup_driver;
  events::EventBus& events;
  streaming::StreamServer& streams;
  std::string config_toml;  // in force; for Status with verbose
};

class RuntimeService final : public api::RuntimeService::Service {
 public:
  explicit RuntimeService(RuntimeServiceDeps deps) : deps_(std::move(deps)) {}

  // One RPC: what gRPC calls, named as in the CRI.
#define BERTH_RPC(name)                                                              \
  grpc::Status name(grpc::ServerContext* context, const api::name##Request* request, \
                    api::name##Response* response) override
#define BERTH_STREAM_RPC(name, Request, Response)                              \
  grpc::Status name(grpc::ServerContext* context, const api::Request* request, \
                    grpc::ServerWriter<api::Response>* writer) override

  BERTH_RPC(Version);
  BERTH_RPC(Status);
  BERTH_RPC(RuntimeConfig);
  BERTH_RPC(UpdateRuntimeConfig);

  BERTH_RPC(RunPodSandbox);
  BERTH_RPC(StopPodSandbox);
  BERTH_RPC(RemovePodSandbox);
  BERTH_RPC(PodSandboxStatus);
  BERTH_RPC(ListPodSandbox);

  BERTH_RPC(CreateContainer);
  BERTH_RPC(StartContainer);
  BERTH_RPC(StopContainer);
  BERTH_RPC(RemoveContainer);
  BERTH_RPC(ContainerStatus);
  BERTH_RPC(ListContainers);
  BERTH_RPC(ReopenContainerLog);

  BERTH_RPC(UpdateContainerResources);
  BERTH_RPC(UpdatePodSandboxResources);

  BERTH_RPC(ExecSync);
  BERTH_RPC(Exec);
  BERTH_RPC(Attach);
  BERTH_RPC(PortForward);

  BERTH_STREAM_RPC(GetContainerEvents, GetEventsRequest, ContainerEventResponse);
  BERTH_STREAM_RPC(StreamPodSandboxes, StreamPodSandboxesRequest, StreamPodSandboxesResponse);
  BERTH_STREAM_RPC(StreamContainers, StreamContainersRequest, StreamContainersResponse);
  BERTH_RPC(ContainerStats);
  BERTH_RPC(ListContainerStats);
  BERTH_STREAM_RPC(StreamContainerStats, StreamContainerStatsRequest, StreamContainerStatsResponse);
  BERTH_RPC(PodSandboxStats);
  BERTH_RPC(ListPodSandboxStats);
  BERTH_STREAM_RPC(StreamPodSandboxStats, StreamPodSandboxStatsRequest,
                   StreamPodSandboxStatsResponse);

  // Not served by this version.
  BERTH_RPC(CheckpointContainer);
  BERTH_RPC(CheckpointPod);
  BERTH_RPC(RestorePod);
  BERTH_RPC(ListMetricDescriptors);
  BERTH_RPC(ListPodSandboxMetrics);
  BERTH_STREAM_RPC(StreamPodSandboxMetrics, StreamPodSandboxMetricsRequest,
                   StreamPodSandboxMetricsResponse);
#undef BERTH_RPC
#undef BERTH_STREAM_RPC

 private:
  absl::StatusOr<std::string> Run(const base::OpContext& ctx,
                                  const api::RunPodSandboxRequest& request);
  absl::StatusOr<std::string> Create(const base::OpContext& ctx,
                                     const api::CreateContainerRequest& request);
  absl::Status Update(const base::OpContext& ctx,
                      const api::UpdateContainerResourcesRequest& request);
  absl::Status Update(const api::UpdatePodSandboxResourcesRequest& request);
  absl::Status Exec(const base::OpContext& ctx, const api::ExecSyncRequest& request,
                    api::ExecSyncResponse& response);
  absl::StatusOr<std::string> UrlOf(const api::ExecRequest& request);
  absl::StatusOr<std::string> UrlOf(const api::AttachRequest& request);
  absl::StatusOr<std::string> UrlOf(const api::PortForwardRequest& request);
  absl::StatusOr<bool> ResolveIds(const api::ContainerFilter& request, ContainerFilter& filter);
  // What a list's filter lets through, newest first.
  absl::StatusOr<std::vector<sandbox::SandboxPtr>> Select(const api::PodSandboxFilter& request);
  absl::StatusOr<std::vector<container::ContainerPtr>> Select(const api::ContainerFilter& request);
  api::ContainerStatus RenderStatus(const model::ContainerRecord& record);
  absl::Status Watch(const base::OpContext& ctx,
                     grpc::ServerWriter<api::ContainerEventResponse>& writer);
  absl::Status Show(const api::PodSandboxStatusRequest& request,
                    api::PodSandboxStatusResponse& response);
  absl::Status Show(const base::OpContext& ctx, const api::ContainerStatusRequest& request,
                    api::ContainerStatusResponse& response);
  // What a filter lets through; an id that names nothing: none.
  absl::StatusOr<std::vector<container::ContainerPtr>> Select(
      const api::ContainerStatsFilter& wanted);
  absl::StatusOr<std::vector<sandbox::SandboxPtr>> Select(const api::PodSandboxStatsFilter& wanted);
  absl::Status Show(const base::OpContext& ctx, const api::ContainerStatsRequest& request,
                    api::ContainerStatsResponse& response);
  absl::Status Show(const base::OpContext& ctx, const api::PodSandboxStatsRequest& request,
                    api::PodSandboxStatsResponse& response);
  absl::Status List(const base::OpContext& ctx, const api::ListContainerStatsRequest& request,
                    api::ListContainerStatsResponse& response);
  absl::Status List(const base::OpContext& ctx, const api::ListPodSandboxStatsRequest& request,
                    api::ListPodSandboxStatsResponse& response);
  absl::Status Send(const base::OpContext& ctx, const api::StreamContainerStatsRequest& request,
                    grpc::ServerWriter<api::StreamContainerStatsResponse>& writer);
  absl::Status Send(const base::OpContext& ctx, const api::StreamPodSandboxStatsRequest& request,
                    grpc::ServerWriter<api::StreamPodSandboxStatsResponse>& writer);
  // Value of info["config"] in a verbose Status: JSON.
  std::string NodeInfo();

  const RuntimeServiceDeps deps_;
  base::Mutex mu_;  // leaf
  std::string pod_cidr_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::cri
