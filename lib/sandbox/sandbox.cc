#include "lib/sandbox/sandbox.h"

namespace berth::sandbox {

void SandboxService::Sandbox::MarkNotReady() {
  base::MutexLock lock(state_mu_);
  if (record_->state == model::SandboxState::kNotReady) {
    return;
  }
  auto changed = std::make_shared<model::SandboxRecord>(*record_);
  changed->state = model::SandboxState::kNotReady;
  record_ = std::move(changed);
}

}  // namespace berth::sandbox
