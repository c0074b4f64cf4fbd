// PodNetworks: attaches pods to the node's default network and detaches them, and once after start
// lets the plugins free what no pod has (GC).
//
// GC may run neither beside ADD nor beside DEL. So it waits for a moment without any, and requests
// that come while it runs wait for it, kGcBudget at most. What is attached is counted here, from
// before ADD until DEL has succeeded: a pod that is just being made is not garbage.
//
// Threads: thread-safe; the pods' calls are independent, mu_ is a leaf lock. Collection has a
// thread of its own, from StartCollection until it is done. Ownership: borrows both; the destructor
// ends a collection. Used by SandboxService alone. Source: CNI spec 1.1 section 3, "Lifecycle &
// Ordering"; section 2, GC.
#pragma once

#include <atomic>
#include <set>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/cni/cni_invoker.h"
#include "lib/cni/network_configs.h"
#include "lib/model/sandbox.h"

namespace berth::sandbox {

class PodNetworks {
 public:
  struct Times {
    absl::Duration gc_budget = absl::Seconds(10);  // of STATUS and of GC, each of all plugins
    // A network may come after the daemon, or its plugins may need what is started after it.
    absl::Duration look_again = absl::Seconds(5);
    absl::Duration give_up = absl::Minutes(10);
  };

  PodNetworks(cni::NetworkConfigs& networks, const cni::CniInvoker& invoker);
  PodNetworks(cni::NetworkConfigs& networks, const cni::CniInvoker& invoker, Times times);
  ~PodNetworks();
  PodNetworks(const PodNetworks&) = delete;
  PodNetworks& operator=(const PodNetworks&) = delete;

  // Takes note of what an earlier berthd attached.
  void Remember(const model::SandboxRecord& record);

  // Writes into the record what Connect will do. kUnavailable: no network, or a plugin is missing;
  // kInvalidArgument: bandwidth, ports, names.
  absl::Status Plan(model::SandboxRecord& record, const std::string& netns_path) const;
  // ADD as planned; the record gets the result and the addresses. Nothing planned: OK.
  absl::Status Connect(const base::OpContext& ctx, model::SandboxRecord& record);
  // DEL from the record alone, unless it was done.
  absl::Status Disconnect(const base::OpContext& ctx, model::SandboxRecord& record);

  // Runs GC of the default network once, in the background, as soon as its plugins are ready for
  // it. Call once, when every pod of an earlier berthd is known.
  void StartCollection();

 private:
  absl::Status Enter(const base::OpContext& ctx);
  void Leave();
  void Collect();
  absl::Status TryCollect(const base::OpContext& ctx);

  cni::NetworkConfigs& networks_;
  const cni::CniInvoker& invoker_;
  const Times times_;
  std::atomic<bool> stopping_ = false;
  base::Mutex mu_;
  base::CondVar changed_;
  int entered_ ABSL_GUARDED_BY(mu_) = 0;  // ADDs and DELs that run
  bool collecting_ ABSL_GUARDED_BY(mu_) = false;
  std::set<cni::AttachmentId> attached_ ABSL_GUARDED_BY(mu_);
  std::thread collector_;
};

}  // namespace berth::sandbox
