// NetworkHealth: whether pods can be attached to the default network now: it is configured, its
// plugins' programs are there, and, where the network speaks CNI 1.1, the plugins say so (STATUS).
//
// Plugins are asked only when somebody asks here, one question at a time, on a thread of its own;
// an answer counts for Times::fresh. A plugin that is slow holds nobody up for longer than
// Times::patience: the last answer stands meanwhile, and at Times::budget the plugin is killed,
// which is an answer, too.
//
// Threads: thread-safe; mu_ is a leaf lock. Ownership: borrows both; the destructor ends a question
// that is under way. Source: CNI spec 1.1 section 2, STATUS.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/base/work_queue.h"
#include "lib/cni/cni_invoker.h"
#include "lib/cni/network_configs.h"

namespace berth::cni {

class NetworkHealth {
 public:
  struct Times {
    absl::Duration fresh = absl::Seconds(3);  // less than the kubelet's 5 s between its questions
    absl::Duration patience = absl::Seconds(1);
    absl::Duration budget = absl::Seconds(10);  // of one STATUS of all plugins
  };

  NetworkHealth(NetworkConfigs& networks, const CniInvoker& invoker);
  NetworkHealth(NetworkConfigs& networks, const CniInvoker& invoker, Times times);
  ~NetworkHealth();
  NetworkHealth(const NetworkHealth&) = delete;
  NetworkHealth& operator=(const NetworkHealth&) = delete;

  // OK, or why not: NetworkConfigs::Ready()'s error, a plugin's, or kUnavailable as long as the
  // plugins of a network have not answered for the first time. Its message is the NetworkReady
  // condition's.
  absl::Status Ready(const base::OpContext& ctx);

 private:
  using NetworkPtr = std::shared_ptr<const NetworkConfig>;
  struct Answer {
    NetworkPtr network;
    absl::Status status;
    absl::Time at;
  };

  void AskLocked(const NetworkPtr& network) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasAnswerLocked(const NetworkConfig& network) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  NetworkConfigs& networks_;
  const CniInvoker& invoker_;
  const Times times_;
  std::atomic<bool> stopping_ = false;
  base::Mutex mu_;
  base::CondVar answered_;
  bool asking_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<Answer> last_ ABSL_GUARDED_BY(mu_);
  base::WorkQueue queue_;  // the last member: its thread ends first
};

}  // namespace berth::cni
