#include "lib/cni/network_health.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::cni {

NetworkHealth::NetworkHealth(NetworkConfigs& networks, const CniInvoker& invoker)
    : NetworkHealth(networks, invoker, Times()) {}

NetworkHealth::NetworkHealth(NetworkConfigs& networks, const CniInvoker& invoker, Times times)
    : networks_(networks), invoker_(invoker), times_(times) {}

NetworkHealth::~NetworkHealth() { stopping_ = true; }

bool NetworkHealth::HasAnswerLocked(const NetworkConfig& network) const {
  return last_.has_value() && last_->network->bytes == network.bytes;
}

void NetworkHealth::AskLocked(const NetworkPtr& network) {
  asking_ = true;
  queue_.Add([this, network] {
    const base::OpContext ctx(absl::Now() + times_.budget, [this] { return stopping_.load(); });
    absl::Status status = invoker_.NetworkStatus(ctx, *network);
    if (stopping_) {
      return;
    }
    base::MutexLock lock(mu_);
    const bool was_ok = !HasAnswerLocked(*network) || last_->status.ok();
    if (was_ok != status.ok()) {
      base::Log("cni").warn(
          "the pods' network is {}{}",
          status.ok() ? "ready again" : "not ready: ", std::string(status.message()));
    }
    last_ = Answer{network, std::move(status), absl::Now()};
    asking_ = false;
    answered_.SignalAll();
  });
}

absl::Status NetworkHealth::Ready(const base::OpContext& ctx) {
  RETURN_IF_ERROR(networks_.Ready());
  ASSIGN_OR_RETURN(const NetworkPtr network, networks_.Default());
  if (!HasStatus(*network)) {
    return absl::OkStatus();
  }
  const absl::Time deadline = std::min(absl::Now() + times_.patience, ctx.deadline());
  base::MutexLock lock(mu_);
  while (true) {
    if (HasAnswerLocked(*network) && absl::Now() - last_->at < times_.fresh) {
      return last_->status;
    }
    if (absl::Now() >= deadline || !ctx.Check().ok()) {
      break;
    }
    if (!asking_) {
      AskLocked(network);
    }
    answered_.WaitFor(mu_, std::min(deadline - absl::Now(), base::OpContext::kPollInterval));
  }
  if (HasAnswerLocked(*network)) {
    return last_->status;
  }
  return absl::UnavailableError(
      fmt::format("network '{}': its plugins have not answered to STATUS yet", network->name));
}

}  // namespace berth::cni
