// CRI v1 StreamPodSandboxes, StreamContainers, StreamImages: the lists in several messages.
#include "daemon/cri/call.h"
#include "daemon/cri/image_service.h"
#include "daemon/cri/list_stream.h"
#include "daemon/cri/render_container.h"
#include "daemon/cri/render_image.h"
#include "daemon/cri/render_sandbox.h"
#include "daemon/cri/runtime_service.h"

namespace berth::cri {

grpc::Status RuntimeService::StreamPodSandboxes(
    grpc::ServerContext* context, const api::StreamPodSandboxesRequest* request,
    grpc::ServerWriter<api::StreamPodSandboxesResponse>* writer) {
  Call call("StreamPodSandboxes", Call::Kind::kRead, context);
  const auto list = Select(request->filter());
  if (!list.ok()) {
    return call.End(list.status());
  }
  return call.End(SendInParts<api::StreamPodSandboxesResponse>(
      *list, RenderSandbox,
      [](auto& part, api::PodSandbox item) { *part.add_pod_sandboxes() = std::move(item); },
      [&](const auto& part) { return writer->Write(part); }));
}

grpc::Status RuntimeService::StreamContainers(
    grpc::ServerContext* context, const api::StreamContainersRequest* request,
    grpc::ServerWriter<api::StreamContainersResponse>* writer) {
  Call call("StreamContainers", Call::Kind::kRead, context);
  const auto list = Select(request->filter());
  if (!list.ok()) {
    return call.End(list.status());
  }
  return call.End(SendInParts<api::StreamContainersResponse>(
      *list, RenderContainer,
      [](auto& part, api::Container item) { *part.add_containers() = std::move(item); },
      [&](const auto& part) { return writer->Write(part); }));
}

grpc::Status ImageService::StreamImages(grpc::ServerContext* context,
                                        const api::StreamImagesRequest* request,
                                        grpc::ServerWriter<api::StreamImagesResponse>* writer) {
  Call call("StreamImages", Call::Kind::kRead, context);
  const auto list = Select(request->filter());
  if (!list.ok()) {
    return call.End(list.status());
  }
  return call.End(SendInParts<api::StreamImagesResponse>(
      *list, RenderImage, [](auto& part, api::Image item) { *part.add_images() = std::move(item); },
      [&](const auto& part) { return writer->Write(part); }));
}

}  // namespace berth::cri
