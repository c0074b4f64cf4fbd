// StreamBackend: what the streaming server asks of the node's services.
//
// Threads: thread-safe. Ownership: borrows both services.
#pragma once

#include "daemon/streaming/backend.h"
#include "lib/container/container_service.h"
#include "lib/sandbox/sandbox_service.h"

namespace berth::app {

class StreamBackend final : public streaming::Backend {
 public:
  StreamBackend(container::ContainerService& containers, sandbox::SandboxService& sandboxes)
      : containers_(containers), sandboxes_(sandboxes) {}

  absl::StatusOr<streaming::ExecProcess> Exec(const base::OpContext& ctx,
                                              const streaming::ExecRequest& request) override;
  absl::StatusOr<streaming::Attachment> Attach(const base::OpContext& ctx,
                                               const streaming::AttachRequest& request) override;
  absl::StatusOr<streaming::PodSockets> OpenPodSockets(const base::OpContext& ctx,
                                                       const std::string& sandbox_id) override;

 private:
  container::ContainerService& containers_;
  sandbox::SandboxService& sandboxes_;
};

}  // namespace berth::app
