// Sandbox: one pod in memory: its record snapshot and its pause's pidfd. Used by SandboxService
// alone.
//
// Threads: op_mu() serialises Stop, UpdateResources and Remove of the pod and may be held across
// I/O; state_mu_ is a leaf.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "lib/base/mutex.h"
#include "lib/base/unique_fd.h"
#include "lib/model/sandbox.h"
#include "lib/sandbox/sandbox_service.h"

namespace berth::sandbox {

class SandboxService::Sandbox {
 public:
  explicit Sandbox(model::SandboxRecord record)
      : id_(record.id),
        name_(record.spec.FullName()),
        record_(std::make_shared<const model::SandboxRecord>(std::move(record))) {}

  const model::SandboxId& id() const { return id_; }
  const std::string& name() const { return name_; }
  base::Mutex& op_mu() ABSL_LOCK_RETURNED(op_mu_) { return op_mu_; }

  // Set by Remove: a request that waited for op_mu() finds nothing left to do.
  bool removed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(op_mu_) { return removed_; }
  void set_removed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(op_mu_) { removed_ = true; }

  SandboxPtr record() const {
    base::MutexLock lock(state_mu_);
    return record_;
  }
  void set_record(model::SandboxRecord record) {
    auto snapshot = std::make_shared<const model::SandboxRecord>(std::move(record));
    base::MutexLock lock(state_mu_);
    record_ = std::move(snapshot);
  }
  // Changes a copy and puts it in place: what else happens to the record meanwhile stays.
  void Change(const std::function<void(model::SandboxRecord&)>& change) {
    base::MutexLock lock(state_mu_);
    auto changed = std::make_shared<model::SandboxRecord>(*record_);
    change(*changed);
    record_ = std::move(changed);
  }
  // The pod is being stopped, or its pause has ended: a pod without it is not ready. The record on
  // disk follows at the next Stop or start. False: it was not ready before.
  bool MarkNotReady();

  // The pidfd that the event loop watches, from WatchPause until the watch ends.
  base::UniqueFd TakePidfd() {
    base::MutexLock lock(state_mu_);
    return std::move(pidfd_);
  }
  int KeepPidfd(base::UniqueFd fd) {
    base::MutexLock lock(state_mu_);
    pidfd_ = std::move(fd);
    return pidfd_.get();
  }

 private:
  const model::SandboxId id_;
  const std::string name_;
  base::Mutex op_mu_;
  bool removed_ ABSL_GUARDED_BY(op_mu_) = false;
  mutable base::Mutex state_mu_;
  SandboxPtr record_ ABSL_GUARDED_BY(state_mu_);
  base::UniqueFd pidfd_ ABSL_GUARDED_BY(state_mu_);
};

}  // namespace berth::sandbox
