// StopPodSandbox and RemovePodSandbox: the containers, all at once, then the pod.
#include <csignal>
#include <thread>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/container/container.h"
#include "lib/container/container_service.h"

namespace berth::container {

absl::Status ContainerService::StopPod(const base::OpContext& ctx, const std::string& sandbox_id) {
  const absl::StatusOr<sandbox::SandboxPtr> sandbox = deps_.sandboxes.Get(sandbox_id);
  if (absl::IsNotFound(sandbox.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(sandbox.status());
  // Until the pod is not ready, which Create looks at.
  const auto bar = creations_.BarPod(ctx, (*sandbox)->id);
  RETURN_IF_ERROR(
      base::Annotate(bar.status(), fmt::format("stop pod sandbox '{}'", (*sandbox)->id.value())));
  // CRI v1 StopPodSandbox: running containers are forcibly terminated. Signals first, so that all
  // of them end at the same time.
  const std::vector<Ptr> containers = OfSandbox((*sandbox)->id);
  for (const Ptr& container : containers) {
    if (!container->exited()) {
      RETURN_IF_ERROR(Signal(*container->record(), SIGKILL));
    }
  }
  for (const Ptr& container : containers) {
    RETURN_IF_ERROR(base::Annotate(KillAndWait(ctx, container),
                                   fmt::format("stop pod sandbox '{}'", (*sandbox)->id.value())));
  }
  return deps_.sandboxes.Stop(ctx, (*sandbox)->id.value());
}

absl::Status ContainerService::RemovePod(const base::OpContext& ctx,
                                         const std::string& sandbox_id) {
  const absl::StatusOr<sandbox::SandboxPtr> sandbox = deps_.sandboxes.Get(sandbox_id);
  if (absl::IsNotFound(sandbox.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(sandbox.status());
  RETURN_IF_ERROR(StopPod(ctx, (*sandbox)->id.value()));
  // A thread each: removing is one call of the runtime per container, and pods have few.
  const std::vector<Ptr> containers = OfSandbox((*sandbox)->id);
  std::vector<absl::Status> results(containers.size());
  std::vector<std::thread> threads;
  for (size_t i = 1; i < containers.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = Remove(ctx, containers[i]->id().value()); });
  }
  if (!containers.empty()) {
    results[0] = Remove(ctx, containers[0]->id().value());
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (absl::Status& result : results) {
    RETURN_IF_ERROR(std::move(result));
  }
  return deps_.sandboxes.Remove(ctx, (*sandbox)->id.value());
}

}  // namespace berth::container
