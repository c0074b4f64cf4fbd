// ImageService: the CRI's image service. Each RPC is parse, call, render (image_rpc.cc); lib/image
// does the work. Threads: thread-safe; PullImage blocks for as long as its request may. Ownership:
// borrows the services of lib. Source: CRI v1 ImageService.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "daemon/cri/cri_api.h"
#include "lib/base/op_context.h"
#include "lib/container/container_service.h"
#include "lib/image/image_service.h"
#include "lib/stats/stats_service.h"
#include "runtime/v1/api.grpc.pb.h"

namespace berth::cri {

class ImageService final : public api::ImageService::Service {
 public:
  // `storage_path`: directory on the file system of layers and writable layers.
  ImageService(image::ImageService& images, container::ContainerService& containers,
               stats::StatsService& stats, std::string storage_path)
      : images_(images),
        containers_(containers),
        stats_(stats),
        storage_path_(std::move(storage_path)) {}

  grpc::Status ListImages(grpc::ServerContext* context, const api::ListImagesRequest* request,
                          api::ListImagesResponse* response) override;
  grpc::Status ImageStatus(grpc::ServerContext* context, const api::ImageStatusRequest* request,
                           api::ImageStatusResponse* response) override;
  grpc::Status PullImage(grpc::ServerContext* context, const api::PullImageRequest* request,
                         api::PullImageResponse* response) override;
  grpc::Status RemoveImage(grpc::ServerContext* context, const api::RemoveImageRequest* request,
                           api::RemoveImageResponse* response) override;
  grpc::Status ImageFsInfo(grpc::ServerContext* context, const api::ImageFsInfoRequest* request,
                           api::ImageFsInfoResponse* response) override;
  grpc::Status StreamImages(grpc::ServerContext* context, const api::StreamImagesRequest* request,
                            grpc::ServerWriter<api::StreamImagesResponse>* writer) override;

 private:
  absl::StatusOr<std::string> Pull(const base::OpContext& ctx,
                                   const api::PullImageRequest& request);
  // What a list's filter lets through.
  absl::StatusOr<std::vector<std::shared_ptr<const model::ImageRecord>>> Select(
      const api::ImageFilter& filter);
  absl::Status Show(const api::ImageStatusRequest& request, api::ImageStatusResponse& response);
  absl::Status Remove(const api::RemoveImageRequest& request);

  image::ImageService& images_;
  container::ContainerService& containers_;
  stats::StatsService& stats_;
  const std::string storage_path_;
};

}  // namespace berth::cri
