#include "lib/container/creations.h"

#include <thread>

#include "gtest/gtest.h"

namespace berth::container {
namespace {

const model::SandboxId kPod("5a");
const model::SandboxId kOther("5b");

base::OpContext Soon() { return base::OpContext::WithTimeout(absl::Seconds(20)); }

TEST(CreationsTest, ABarredPodTakesNothingAndAnotherDoes) {
  Creations creations;
  {
    const auto bar = creations.BarPod(Soon(), kPod);
    ASSERT_TRUE(bar.ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(creations.Begin(kPod).status()));
    EXPECT_TRUE(creations.Begin(kOther).ok());
    const auto second = creations.BarPod(Soon(), kPod);
    EXPECT_TRUE(second.ok());
  }
  EXPECT_TRUE(creations.Begin(kPod).ok());
}

TEST(CreationsTest, TheBarCancelsAndWaits) {
  Creations creations;
  auto making = creations.Begin(kPod);
  ASSERT_TRUE(making.ok());
  EXPECT_FALSE((*making)->cancelled());
  std::thread maker([made = *std::move(making)]() mutable {
    while (!made->cancelled()) {
      std::this_thread::yield();
    }
    made.reset();
  });
  making = absl::CancelledError();
  EXPECT_TRUE(creations.BarPod(Soon(), kPod).ok());
  maker.join();
}

TEST(CreationsTest, WhoGivesUpWaitingLeavesThePodOpen) {
  Creations creations;
  const auto making = creations.Begin(kPod);
  ASSERT_TRUE(making.ok());
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(creations.BarPod(base::OpContext(absl::Now()), kPod).status()));
  EXPECT_FALSE((*making)->cancelled());
  EXPECT_TRUE(creations.Begin(kPod).ok());
}

}  // namespace
}  // namespace berth::container
