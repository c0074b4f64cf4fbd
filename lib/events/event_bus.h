// EventBus: tells any number of subscribers what happens to pods and containers.
//
// The services make a change and publish it in one step, under the bus's lock, with the pod and its
// containers as they are then. So the events of a pod never go back in time: whoever sees a change
// publishes what follows from it after that change's own event.
//
// Each subscriber has a queue of kQueueLength events. A publisher never waits: when a queue is full
// its oldest event is dropped and counted. Records in events are shared snapshots, so an event
// costs pointers.
//
// Threads: thread-safe; Publish may be called on the event loop. Locks: mu_ is taken before the
// leaf locks that `change` and the look take (IdIndex, *::state_mu_); Subscription::mu_ is a leaf.
// Ownership: the bus outlives its subscriptions. Nothing is kept for those who come later.
// Source: CRI v1 GetContainerEvents.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/model/container.h"
#include "lib/model/sandbox.h"

namespace berth::events {

enum class EventType { kCreated, kStarted, kStopped, kDeleted };

struct Pod {
  std::shared_ptr<const model::SandboxRecord> sandbox;  // nullptr: there is none
  std::vector<std::shared_ptr<const model::ContainerRecord>> containers;
};

struct Event {
  EventType type = EventType::kCreated;
  std::string id;          // the container's; the pod's, for what happens to the pod itself
  int64_t created_ns = 0;  // CLOCK_REALTIME, when `pod` was looked at
  Pod pod;
};
using EventPtr = std::shared_ptr<const Event>;

class EventBus;

// One subscriber's queue; ends with this object. Threads: Next on one thread.
class Subscription {
 public:
  ~Subscription();
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  // The oldest event that is waiting, or the next one. At ctx's end: its error. kUnavailable: the
  // bus was closed; nothing comes any more.
  absl::StatusOr<EventPtr> Next(const base::OpContext& ctx);
  // How many events its queue had no room for.
  uint64_t dropped() const;

 private:
  friend class EventBus;
  explicit Subscription(EventBus& bus) : bus_(bus) {}
  // How many were dropped since the last time it is worth a line in the log; 0: nothing to log.
  uint64_t Push(EventPtr event);
  void Close();

  EventBus& bus_;
  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::deque<EventPtr> queue_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t dropped_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t logged_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time log_again_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

class EventBus {
 public:
  static constexpr size_t kQueueLength = 1000;
  // Between two lines in the log about one subscriber that does not keep up.
  static constexpr absl::Duration kLogInterval = absl::Minutes(1);

  // What a pod and its containers are now. Takes leaf locks only.
  using Look = std::function<Pod(const model::SandboxId&)>;

  EventBus() = default;
  EventBus(const EventBus&) = delete;
  EventBus& operator=(const EventBus&) = delete;

  // By the composition root, when the services are there; without it there are no events.
  void SetLook(Look look);

  // Runs `change` and, when that says true, tells every subscriber. `id` names the container or the
  // pod it happened to. `change` takes leaf locks only. A deleted pod is shown as it was before the
  // change; everything else as after it. Returns what `change` did.
  bool Publish(
      EventType type, const std::string& id, const model::SandboxId& pod,
      const std::function<bool()>& change = [] { return true; });

  std::unique_ptr<Subscription> Subscribe();
  // Every subscription gets kUnavailable, also later ones. For the daemon's end.
  void Close();

  size_t subscribers() const;
  // Of all subscribers, those that are gone too.
  uint64_t dropped() const;

 private:
  friend class Subscription;
  void Remove(Subscription* subscription);

  mutable base::Mutex mu_;
  Look look_ ABSL_GUARDED_BY(mu_);
  std::set<Subscription*> subscriptions_ ABSL_GUARDED_BY(mu_);
  uint64_t dropped_by_gone_ ABSL_GUARDED_BY(mu_) = 0;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace berth::events
