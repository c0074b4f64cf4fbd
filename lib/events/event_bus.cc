#include "lib/events/event_bus.h"

#include <utility>

#include "absl/time/clock.h"

#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::events {

Subscription::~Subscription() { bus_.Remove(this); }

absl::StatusOr<EventPtr> Subscription::Next(const base::OpContext& ctx) {
  base::MutexLock lock(mu_);
  while (queue_.empty()) {
    if (closed_) {
      return absl::UnavailableError("there are no more events: berthd is stopping");
    }
    RETURN_IF_ERROR(ctx.Check());
    changed_.WaitFor(mu_, std::min(base::OpContext::kPollInterval,
                                   std::max(ctx.Remaining(), absl::Milliseconds(1))));
  }
  EventPtr event = std::move(queue_.front());
  queue_.pop_front();
  return event;
}

uint64_t Subscription::dropped() const {
  base::MutexLock lock(mu_);
  return dropped_;
}

uint64_t Subscription::Push(EventPtr event) {
  base::MutexLock lock(mu_);
  queue_.push_back(std::move(event));
  changed_.Signal();
  if (queue_.size() <= EventBus::kQueueLength) {
    return 0;
  }
  queue_.pop_front();
  ++dropped_;
  const absl::Time now = absl::Now();
  if (now < log_again_) {
    return 0;
  }
  log_again_ = now + EventBus::kLogInterval;
  return dropped_ - std::exchange(logged_, dropped_);
}

void Subscription::Close() {
  base::MutexLock lock(mu_);
  queue_.clear();
  closed_ = true;
  changed_.Signal();
}

void EventBus::SetLook(Look look) {
  base::MutexLock lock(mu_);
  look_ = std::move(look);
}

bool EventBus::Publish(EventType type, const std::string& id, const model::SandboxId& pod,
                       const std::function<bool()>& change) {
  uint64_t to_log = 0;
  {
    base::MutexLock lock(mu_);
    const bool wanted = !subscriptions_.empty() && look_ != nullptr;
    const bool show_before = type == EventType::kDeleted && id == pod.value();
    auto event = std::make_shared<Event>();
    if (wanted && show_before) {
      event->pod = look_(pod);
    }
    if (!change()) {
      return false;
    }
    if (!wanted) {
      return true;
    }
    event->created_ns = absl::ToUnixNanos(absl::Now());
    if (!show_before) {
      event->pod = look_(pod);
    }
    if (event->pod.sandbox == nullptr) {
      return true;  // a subscriber finds the pod by its status, and could do nothing without
    }
    event->type = type;
    event->id = id;
    for (Subscription* subscription : subscriptions_) {
      to_log += subscription->Push(event);
    }
  }
  if (to_log != 0) {
    base::Log("events").warn("a subscriber does not keep up, dropping its oldest events dropped={}",
                             to_log);
  }
  return true;
}

std::unique_ptr<Subscription> EventBus::Subscribe() {
  std::unique_ptr<Subscription> subscription(new Subscription(*this));
  base::MutexLock lock(mu_);
  subscriptions_.insert(subscription.get());
  if (closed_) {
    subscription->Close();
  }
  return subscription;
}

void EventBus::Close() {
  base::MutexLock lock(mu_);
  closed_ = true;
  for (Subscription* subscription : subscriptions_) {
    subscription->Close();
  }
}

size_t EventBus::subscribers() const {
  base::MutexLock lock(mu_);
  return subscriptions_.size();
}

uint64_t EventBus::dropped() const {
  base::MutexLock lock(mu_);
  uint64_t sum = dropped_by_gone_;
  for (const Subscription* subscription : subscriptions_) {
    sum += subscription->dropped();
  }
  return sum;
}

void EventBus::Remove(Subscription* subscription) {
  base::MutexLock lock(mu_);
  subscriptions_.erase(subscription);
  dropped_by_gone_ += subscription->dropped();
}

}  // namespace berth::events
