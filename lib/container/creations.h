// Creations: which pods have containers being made and which pods are ending, so that no container
// gets into a pod whose end has already looked for its containers. Used by ContainerService alone.
//
// Threads: thread-safe; mu_ is a leaf. Ownership: outlives what it hands out.
#pragma once

#include <map>
#include <memory>

#include "absl/status/statusor.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/model/ids.h"

namespace berth::container {

class Creations {
 public:
  Creations() = default;
  Creations(const Creations&) = delete;
  Creations& operator=(const Creations&) = delete;

  // One container being made; the pod's end waits for this object's.
  class Making {
   public:
    Making(Creations& owner, model::SandboxId pod) : owner_(owner), pod_(std::move(pod)) {}
    ~Making();
    Making(const Making&) = delete;
    Making& operator=(const Making&) = delete;
    // The pod ends: give up.
    bool cancelled() const;

   private:
    Creations& owner_;
    const model::SandboxId pod_;
  };
  // While it exists, nothing is made in the pod.
  class Bar {
   public:
    Bar(Creations& owner, model::SandboxId pod) : owner_(owner), pod_(std::move(pod)) {}
    ~Bar();
    Bar(const Bar&) = delete;
    Bar& operator=(const Bar&) = delete;

   private:
    Creations& owner_;
    const model::SandboxId pod_;
  };

  // kFailedPrecondition: the pod is ending.
  absl::StatusOr<std::shared_ptr<Making>> Begin(const model::SandboxId& pod);
  // Cancels what is being made in the pod and waits until it is made or undone, no longer than ctx.
  absl::StatusOr<std::unique_ptr<Bar>> BarPod(const base::OpContext& ctx,
                                              const model::SandboxId& pod);

 private:
  struct State {
    int making = 0;
    int bars = 0;
  };
  void ForgetIfIdle(const model::SandboxId& pod) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::map<model::SandboxId, State> pods_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::container
