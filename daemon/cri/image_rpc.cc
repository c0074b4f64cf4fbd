// CRI v1 ListImages to ImageFsInfo.
#include "daemon/cri/call.h"
#include "daemon/cri/image_service.h"
#include "daemon/cri/parse_image.h"
#include "daemon/cri/render_image.h"
#include "lib/base/status.h"

namespace berth::cri {

absl::StatusOr<std::vector<std::shared_ptr<const model::ImageRecord>>> ImageService::Select(
    const api::ImageFilter& filter) {
  std::vector<std::shared_ptr<const model::ImageRecord>> list;
  if (filter.image().image().empty()) {
    return images_.List();
  }
  ASSIGN_OR_RETURN(const std::string name, ParseImageName(filter.image()));
  const auto found = images_.Find(name);
  if (absl::IsNotFound(found.status())) {
    return list;
  }
  RETURN_IF_ERROR(found.status());
  list.push_back(*found);
  return list;
}

grpc::Status ImageService::ListImages(grpc::ServerContext* context,
                                      const api::ListImagesRequest* request,
                                      api::ListImagesResponse* response) {
  Call call("ListImages", Call::Kind::kRead, context);
  const auto list = Select(request->filter());
  if (list.ok()) {
    for (const auto& record : *list) {
      *response->add_images() = RenderImage(*record);
    }
  }
  return call.End(list.status());
}

absl::Status ImageService::Show(const api::ImageStatusRequest& request,
                                api::ImageStatusResponse& response) {
  ASSIGN_OR_RETURN(const std::string name, ParseImageName(request.image()));
  const auto found = images_.Find(name);
  if (!found.ok()) {
    // No such image is an answer here, not an error.
    return absl::IsNotFound(found.status()) ? absl::OkStatus() : found.status();
  }
  *response.mutable_image() = RenderImage(**found);
  if (request.verbose()) {
    (*response.mutable_info())["info"] = ImageInfo(**found);
  }
  return absl::OkStatus();
}

grpc::Status ImageService::ImageStatus(grpc::ServerContext* context,
                                       const api::ImageStatusRequest* request,
                                       api::ImageStatusResponse* response) {
  Call call("ImageStatus", Call::Kind::kRead, context);
  call.Note("image", request->image().image());
  return call.End(Show(*request, *response));
}

absl::StatusOr<std::string> ImageService::Pull(const base::OpContext& ctx,
                                               const api::PullImageRequest& request) {
  ASSIGN_OR_RETURN(const std::string name, ParseImageName(request.image()));
  ASSIGN_OR_RETURN(const std::optional<registry::Credentials> credentials,
                   ParseAuth(request.auth()));
  if (credentials) {
    RETURN_IF_ERROR(CheckServerAddress(request.auth().server_address(), name));
  }
  return images_.Pull(ctx, name, credentials);
}

grpc::Status ImageService::PullImage(grpc::ServerContext* context,
                                     const api::PullImageRequest* request,
                                     api::PullImageResponse* response) {
  Call call("PullImage", Call::Kind::kChange, context);
  call.Note("image", request->image().image());
  // All that there is to do with sandbox_config: nothing of a pull depends on the pod.
  call.Note("ns", request->sandbox_config().metadata().namespace_());
  call.Note("pod", request->sandbox_config().metadata().name());
  const absl::StatusOr<std::string> id = Pull(call.context(), *request);
  call.Note("id", id.value_or(""));
  response->set_image_ref(id.value_or(""));
  return call.End(id.status());
}

absl::Status ImageService::Remove(const api::RemoveImageRequest& request) {
  ASSIGN_OR_RETURN(const std::string name, ParseImageName(request.image()));
  return images_.Remove(name);
}

grpc::Status ImageService::RemoveImage(grpc::ServerContext* context,
                                       const api::RemoveImageRequest* request,
                                       api::RemoveImageResponse*) {
  Call call("RemoveImage", Call::Kind::kChange, context);
  call.Note("image", request->image().image());
  return call.End(Remove(*request));
}

grpc::Status ImageService::ImageFsInfo(grpc::ServerContext* context, const api::ImageFsInfoRequest*,
                                       api::ImageFsInfoResponse* response) {
  Call call("ImageFsInfo", Call::Kind::kRead, context);
  const int64_t now_ns = absl::ToUnixNanos(absl::Now());
  // Writable layers lie on the same file system, and the kubelet takes two names of it for two file
  // systems.
  *response->add_image_filesystems() = RenderUsage(images_.Usage(), storage_path_, now_ns);
  const snapshot::Usage writable = stats_.WritableLayers(containers_.List());
  *response->add_container_filesystems() =
      RenderUsage({writable.bytes, writable.inodes}, storage_path_, now_ns);
  return call.End(absl::OkStatus());
}

}  // namespace berth::cri
