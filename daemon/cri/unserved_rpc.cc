// The RPCs of the CRI that this version does not serve: UNIMPLEMENTED, with the RPC's name, so that
// a log shows which one it was.
#include "daemon/cri/call.h"
#include "daemon/cri/runtime_service.h"

namespace berth::cri {

grpc::Status RuntimeService::CheckpointContainer(grpc::ServerContext*,
                                                 const api::CheckpointContainerRequest*,
                                                 api::CheckpointContainerResponse*) {
  return NotImplemented("CheckpointContainer");
}

grpc::Status RuntimeService::CheckpointPod(grpc::ServerContext*, const api::CheckpointPodRequest*,
                                           api::CheckpointPodResponse*) {
  return NotImplemented("CheckpointPod");
}

grpc::Status RuntimeService::RestorePod(grpc::ServerContext*, const api::RestorePodRequest*,
                                        api::RestorePodResponse*) {
  return NotImplemented("RestorePod");
}

grpc::Status RuntimeService::ListMetricDescriptors(grpc::ServerContext*,
                                                   const api::ListMetricDescriptorsRequest*,
                                                   api::ListMetricDescriptorsResponse*) {
  return NotImplemented("ListMetricDescriptors");
}

grpc::Status RuntimeService::ListPodSandboxMetrics(grpc::ServerContext*,
                                                   const api::ListPodSandboxMetricsRequest*,
                                                   api::ListPodSandboxMetricsResponse*) {
  return NotImplemented("ListPodSandboxMetrics");
}

grpc::Status RuntimeService::StreamPodSandboxMetrics(
    grpc::ServerContext*, const api::StreamPodSandboxMetricsRequest*,
    grpc::ServerWriter<api::StreamPodSandboxMetricsResponse>*) {
  return NotImplemented("StreamPodSandboxMetrics");
}

}  // namespace berth::cri
