#include "lib/container/creations.h"

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::container {

Creations::Making::~Making() {
  base::MutexLock lock(owner_.mu_);
  --owner_.pods_[pod_].making;
  owner_.ForgetIfIdle(pod_);
}

bool Creations::Making::cancelled() const {
  base::MutexLock lock(owner_.mu_);
  return owner_.pods_[pod_].bars > 0;
}

Creations::Bar::~Bar() {
  base::MutexLock lock(owner_.mu_);
  --owner_.pods_[pod_].bars;
  owner_.ForgetIfIdle(pod_);
}

absl::StatusOr<std::shared_ptr<Creations::Making>> Creations::Begin(const model::SandboxId& pod) {
  base::MutexLock lock(mu_);
  State& state = pods_[pod];
  if (state.bars > 0) {
    return absl::FailedPreconditionError(
        fmt::format("pod sandbox '{}' is being stopped", pod.value()));
  }
  ++state.making;
  return std::make_shared<Making>(*this, pod);
}

absl::StatusOr<std::unique_ptr<Creations::Bar>> Creations::BarPod(const base::OpContext& ctx,
                                                                  const model::SandboxId& pod) {
  auto bar = std::make_unique<Bar>(*this, pod);
  absl::Status status;
  {
    base::MutexLock lock(mu_);
    ++pods_[pod].bars;
    while (status.ok() && pods_[pod].making > 0) {
      changed_.WaitFor(mu_, base::OpContext::kPollInterval);
      status = ctx.Check();
    }
    if (pods_[pod].making == 0) {
      return bar;
    }
  }
  return base::Annotate(status, fmt::format("wait for containers that are being made in pod "
                                            "sandbox '{}'",
                                            pod.value()));
}

void Creations::ForgetIfIdle(const model::SandboxId& pod) {
  const auto it = pods_.find(pod);
  if (it != pods_.end() && it->second.making == 0 && it->second.bars == 0) {
    pods_.erase(it);
  }
  changed_.SignalAll();
}

}  // namespace berth::container
