#include "lib/sandbox/sandbox.h"

namespace berth::sandbox {

bool SandboxService::Sandbox::MarkNotReady() {
  base::MutexLock lock(state_mu_);
  if (record_->state != model::SandboxState::kReady) {
    return false;
  }
  auto changed = std::make_shared<model::SandboxRecord>(*record_);
  changed->state = model::SandboxState::kNotReady;
  record_ = std::move(changed);
  return true;
}

}  // namespace berth::sandbox
