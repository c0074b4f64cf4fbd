// Container: one container in memory. Used by ContainerService alone.
//
// Threads: op_mu() serialises Start, UpdateResources and Remove and may be held across I/O, but not
// over a grace period; persist_mu_ orders writes of the record; state_mu_ is a leaf.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/base/unique_fd.h"
#include "lib/container/container_service.h"
#include "lib/model/container.h"

namespace berth::container {

// The reason of a container whose creation failed and could not be undone wholly: listed as exited,
// so that it can be removed. In the database it stays half-made, for the next start to undo.
inline constexpr std::string_view kCreateError = "CreateError";

// For messages: "exec in container 'id': it is exited".
inline std::string_view StateName(model::ContainerState state) {
  switch (state) {
    case model::ContainerState::kCreating:
      return "being created";
    case model::ContainerState::kCreated:
      return "created, not started";
    case model::ContainerState::kRunning:
      return "running";
    case model::ContainerState::kExited:
      break;
  }
  return "exited";
}

class ContainerService::Container {
 public:
  explicit Container(model::ContainerRecord record)
      : id_(record.id),
        name_(record.full_name),
        record_(std::make_shared<const model::ContainerRecord>(std::move(record))) {}

  const model::ContainerId& id() const { return id_; }
  const std::string& name() const { return name_; }
  base::Mutex& op_mu() ABSL_LOCK_RETURNED(op_mu_) { return op_mu_; }
  base::Mutex& persist_mu() ABSL_LOCK_RETURNED(persist_mu_) { return persist_mu_; }
  // Set by Remove: nothing is stored any more, and a request that waited finds nothing left to do.
  bool removed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(persist_mu_) { return removed_; }
  void set_removed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(persist_mu_) { removed_ = true; }

  ContainerPtr record() const {
    base::MutexLock lock(state_mu_);
    return record_;
  }
  bool exited() const { return record()->finished_ns != 0; }
  // Changes a copy and puts it in place; wakes who waits for the exit.
  void Update(const std::function<void(model::ContainerRecord&)>& change) {
    base::MutexLock lock(state_mu_);
    UpdateLocked(change);
  }
  // The same for the exit; false: it has exited already and stays as it is.
  bool UpdateExit(const std::function<void(model::ContainerRecord&)>& change) {
    base::MutexLock lock(state_mu_);
    if (record_->finished_ns != 0) {
      return false;
    }
    UpdateLocked(change);
    return true;
  }

  // Between these two the exit's event is Start's to publish, after its own.
  void BeginStart() {
    base::MutexLock lock(state_mu_);
    starting_ = true;
  }
  // Returns whether it has exited.
  bool EndStart() {
    base::MutexLock lock(state_mu_);
    starting_ = false;
    return record_->finished_ns != 0;
  }
  bool starting() const {
    base::MutexLock lock(state_mu_);
    return starting_;
  }

  // A stop was asked for: true for the first request, whose caller sends the stop signal. The
  // earliest deadline counts.
  bool RequestStop(absl::Time deadline) {
    base::MutexLock lock(state_mu_);
    const bool first = stop_deadline_ == absl::InfiniteFuture();
    stop_deadline_ = std::min(stop_deadline_, deadline);
    changed_.SignalAll();
    return first;
  }
  enum class Woken { kExited, kStopDeadline, kCallerGone };
  // Waits for the exit, for the stop deadline to pass, or for the caller's end. `again`: not before
  // then for the stop deadline, which spaces repeated kills.
  Woken AwaitExit(const base::OpContext& ctx, absl::Time again) {
    base::MutexLock lock(state_mu_);
    while (true) {
      if (record_->finished_ns != 0) {
        return Woken::kExited;
      }
      const absl::Time deadline = std::max(stop_deadline_, again);
      if (absl::Now() >= deadline) {
        return Woken::kStopDeadline;
      }
      if (!ctx.Check().ok()) {
        return Woken::kCallerGone;
      }
      const absl::Duration slice = std::min(base::OpContext::kPollInterval,
                                            std::min(deadline, ctx.deadline()) - absl::Now());
      changed_.WaitFor(state_mu_, std::max(slice, absl::Milliseconds(1)));
    }
  }

  // The pidfd of a container that lost its monitor, while the event loop watches it.
  int KeepOrphan(base::UniqueFd fd) {
    base::MutexLock lock(state_mu_);
    orphan_ = std::move(fd);
    return orphan_.get();
  }
  base::UniqueFd TakeOrphan() {
    base::MutexLock lock(state_mu_);
    return std::move(orphan_);
  }

 private:
  void UpdateLocked(const std::function<void(model::ContainerRecord&)>& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_mu_) {
    auto changed = std::make_shared<model::ContainerRecord>(*record_);
    change(*changed);
    record_ = std::move(changed);
    changed_.SignalAll();
  }

  const model::ContainerId id_;
  const std::string name_;
  base::Mutex op_mu_;
  base::Mutex persist_mu_;
  bool removed_ ABSL_GUARDED_BY(persist_mu_) = false;

  mutable base::Mutex state_mu_;
  base::CondVar changed_;
  ContainerPtr record_ ABSL_GUARDED_BY(state_mu_);
  bool starting_ ABSL_GUARDED_BY(state_mu_) = false;
  absl::Time stop_deadline_ ABSL_GUARDED_BY(state_mu_) = absl::InfiniteFuture();
  base::UniqueFd orphan_ ABSL_GUARDED_BY(state_mu_);
};

}  // namespace berth::container
