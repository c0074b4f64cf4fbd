// AdminService: what berthctl asks beyond the CRI (proto/berth/v1/admin.proto), on the same socket.
// Threads: thread-safe; Import, Export and Check block for as long as the disk takes. Ownership:
// borrows everything in AdminServiceDeps.
#pragma once

#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "berth/v1/admin.grpc.pb.h"
#include "lib/base/op_context.h"
#include "lib/cgroup/pod_cgroups.h"
#include "lib/check/store_check.h"
#include "lib/cni/network_configs.h"
#include "lib/cni/network_health.h"
#include "lib/container/container_service.h"
#include "lib/image/image_service.h"
#include "lib/runtime/runtime_handlers.h"
#include "lib/sandbox/sandbox_service.h"
#include "lib/stats/stats_service.h"
#include "lib/store/paths.h"

namespace berth::cri {

namespace admin = ::berth::v1;

struct AdminServiceDeps {
  sandbox::SandboxService& sandboxes;
  container::ContainerService& containers;
  image::ImageService& images;
  stats::StatsService& stats;
  cni::NetworkConfigs& networks;
  cni::NetworkHealth& network_health;
  const runtime::RuntimeHandlers& handlers;
  const cgroup::PodCgroups& cgroups;
  const store::Paths& paths;
  check::CheckDeps check;
  std::string listen;       // the address served
  std::string config_toml;  // in force
};

class AdminService final : public admin::Admin::Service {
 public:
  explicit AdminService(AdminServiceDeps deps) : deps_(std::move(deps)), began_(absl::Now()) {}

  grpc::Status Import(grpc::ServerContext* context, const admin::ImportRequest* request,
                      admin::ImportResponse* response) override;
  // store_rpc.cc
  grpc::Status Export(grpc::ServerContext* context, const admin::ExportRequest* request,
                      grpc::ServerWriter<admin::ExportPart>* writer) override;
  grpc::Status Check(grpc::ServerContext* context, const admin::CheckRequest* request,
                     admin::CheckResponse* response) override;
  grpc::Status NodeStatus(grpc::ServerContext* context, const admin::NodeStatusRequest* request,
                          admin::NodeStatusResponse* response) override;
  grpc::Status EffectiveConfig(grpc::ServerContext* context,
                               const admin::EffectiveConfigRequest* request,
                               admin::EffectiveConfigResponse* response) override;

 private:
  absl::Status ImportImages(const base::OpContext& ctx, const admin::ImportRequest& request,
                            admin::ImportResponse& response);
  void ShowStorage(admin::StorageStatus& storage);
  void ShowCounts(admin::CountStatus& counts);
  void ShowNetwork(const base::OpContext& ctx, admin::NetworkStatus& network);
  void ShowHandlers(admin::NodeStatusResponse& response);

  const AdminServiceDeps deps_;
  const absl::Time began_;
};

}  // namespace berth::cri
