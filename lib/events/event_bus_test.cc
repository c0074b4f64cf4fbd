#include "lib/events/event_bus.h"

#include <atomic>
#include <thread>

#include "gtest/gtest.h"

namespace berth::events {
namespace {

const model::SandboxId kPod("5a");

class EventBusTest : public ::testing::Test {
 protected:
  void SetUp() override {
    bus_.SetLook([this](const model::SandboxId& id) { return Look(id); });
  }
  Pod Look(const model::SandboxId& id) {
    Pod pod;
    if (there_) {
      auto sandbox = std::make_shared<model::SandboxRecord>();
      sandbox->id = id;
      sandbox->created_ns = version_;
      pod.sandbox = std::move(sandbox);
    }
    return pod;
  }
  static base::OpContext AtOnce() { return base::OpContext(absl::Now()); }
  static EventPtr Take(Subscription& subscription) {
    auto event = subscription.Next(base::OpContext::WithTimeout(absl::Seconds(20)));
    EXPECT_TRUE(event.ok()) << event.status();
    return event.ok() ? *event : std::make_shared<Event>();
  }

  EventBus bus_;
  std::atomic<bool> there_ = true;
  std::atomic<int64_t> version_ = 1;
};

TEST_F(EventBusTest, EverySubscriberGetsEveryEventInOrder) {
  auto one = bus_.Subscribe();
  auto two = bus_.Subscribe();
  EXPECT_EQ(bus_.subscribers(), 2u);
  const absl::Time before = absl::Now();
  bus_.Publish(EventType::kCreated, "c1", kPod);
  bus_.Publish(EventType::kStopped, "c2", kPod);
  for (Subscription* subscription : {one.get(), two.get()}) {
    const EventPtr first = Take(*subscription);
    EXPECT_EQ(first->type, EventType::kCreated);
    EXPECT_EQ(first->id, "c1");
    EXPECT_EQ(first->pod.sandbox->id, kPod);
    EXPECT_GE(first->created_ns, absl::ToUnixNanos(before));
    EXPECT_EQ(Take(*subscription)->id, "c2");
    EXPECT_TRUE(absl::IsDeadlineExceeded(subscription->Next(AtOnce()).status()));
  }
}

TEST_F(EventBusTest, NothingIsKeptForThoseWhoComeLater) {
  bus_.Publish(EventType::kCreated, "c1", kPod);
  auto late = bus_.Subscribe();
  EXPECT_TRUE(absl::IsDeadlineExceeded(late->Next(AtOnce()).status()));
}

TEST_F(EventBusTest, ThePodIsShownAfterTheChangeButADeletedPodAsItWas) {
  auto subscription = bus_.Subscribe();
  bus_.Publish(EventType::kStopped, "c1", kPod, [&] { return ++version_ != 0; });
  EXPECT_EQ(Take(*subscription)->pod.sandbox->created_ns, 2);
  bus_.Publish(EventType::kDeleted, kPod.value(), kPod, [&] {
    there_ = false;
    return true;
  });
  EXPECT_EQ(Take(*subscription)->pod.sandbox->created_ns, 2);
}

TEST_F(EventBusTest, WithoutAChangeOrAPodThereIsNoEventButTheChangeIsMade) {
  auto subscription = bus_.Subscribe();
  EXPECT_FALSE(bus_.Publish(EventType::kStopped, "c1", kPod, [] { return false; }));
  there_ = false;
  bool changed = false;
  EXPECT_TRUE(bus_.Publish(EventType::kDeleted, "c1", kPod, [&] { return changed = true; }));
  EXPECT_TRUE(changed);
  EXPECT_TRUE(absl::IsDeadlineExceeded(subscription->Next(AtOnce()).status()));
  subscription.reset();
  changed = false;
  EXPECT_TRUE(bus_.Publish(EventType::kStopped, "c1", kPod, [&] { return changed = true; }));
  EXPECT_TRUE(changed);
}

TEST_F(EventBusTest, AFullQueueLosesItsOldestAndHarmsNobodyElse) {
  auto stuck = bus_.Subscribe();
  auto reader = bus_.Subscribe();
  constexpr size_t kMore = 5;
  for (size_t i = 0; i < EventBus::kQueueLength + kMore; ++i) {
    bus_.Publish(EventType::kCreated, std::to_string(i), kPod);
    EXPECT_EQ(Take(*reader)->id, std::to_string(i));
  }
  EXPECT_EQ(stuck->dropped(), kMore);
  EXPECT_EQ(reader->dropped(), 0u);
  EXPECT_EQ(bus_.dropped(), kMore);
  for (size_t i = kMore; i < EventBus::kQueueLength + kMore; ++i) {
    EXPECT_EQ(Take(*stuck)->id, std::to_string(i));
  }
  EXPECT_TRUE(absl::IsDeadlineExceeded(stuck->Next(AtOnce()).status()));
  stuck.reset();
  EXPECT_EQ(bus_.dropped(), kMore);
  EXPECT_EQ(bus_.subscribers(), 1u);
}

TEST_F(EventBusTest, EventsOfSeveralPublishersNeverGoBackInTime) {
  auto subscription = bus_.Subscribe();
  std::vector<std::thread> publishers;
  for (int i = 0; i < 4; ++i) {
    publishers.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        bus_.Publish(EventType::kStarted, "c", kPod, [&] { return ++version_ != 0; });
      }
    });
  }
  for (std::thread& publisher : publishers) {
    publisher.join();
  }
  int64_t last_ns = 0;
  for (int64_t version = 2; version <= 801; ++version) {
    const EventPtr event = Take(*subscription);
    EXPECT_EQ(event->pod.sandbox->created_ns, version);
    EXPECT_GE(event->created_ns, last_ns);
    last_ns = event->created_ns;
  }
}

TEST_F(EventBusTest, CloseWakesWhoWaits) {
  auto subscription = bus_.Subscribe();
  absl::Status status;
  std::thread waiter([&] { status = subscription->Next(base::OpContext::Background()).status(); });
  bus_.Close();
  waiter.join();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_TRUE(absl::IsUnavailable(bus_.Subscribe()->Next(AtOnce()).status()));
}

}  // namespace
}  // namespace berth::events
