#include "lib/image/background_job.h"

#include <atomic>

#include "gtest/gtest.h"

namespace berth::image {
namespace {

// Work that waits to be let go.
class Gate {
 public:
  void Pass() {
    base::MutexLock lock(mu_);
    ++arrived_;
    changed_.SignalAll();
    while (is_closed_) {
      changed_.Wait(mu_);
    }
  }
  void Close() {
    base::MutexLock lock(mu_);
    is_closed_ = true;
  }
  void Open() {
    base::MutexLock lock(mu_);
    is_closed_ = false;
    changed_.SignalAll();
  }
  void AwaitArrived(int count) {
    base::MutexLock lock(mu_);
    while (arrived_ < count) {
      changed_.Wait(mu_);
    }
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  bool is_closed_ ABSL_GUARDED_BY(mu_) = false;
  int arrived_ ABSL_GUARDED_BY(mu_) = 0;
};

TEST(BackgroundJobTest, RequestsDuringARoundAreOneRound) {
  Gate gate;
  std::atomic<int> rounds = 0;
  BackgroundJob job([&] {
    gate.Pass();
    ++rounds;
    return absl::OkStatus();
  });
  gate.Close();
  const auto first = job.Request();
  gate.AwaitArrived(1);
  const auto second = job.Request();
  EXPECT_NE(first, second) << "what is asked for during a round must be seen by the next";
  EXPECT_EQ(job.Request(), second);
  gate.Open();
  EXPECT_TRUE(job.Wait(base::OpContext::Background(), second).ok());
  job.WaitIdle();
  EXPECT_EQ(rounds, 2);
  EXPECT_TRUE(job.Wait(base::OpContext::Background(), job.Request()).ok()) << "a new thread";
  EXPECT_EQ(rounds, 3);
}

TEST(BackgroundJobTest, TheResultIsOfTheRound) {
  std::atomic<int> rounds = 0;
  BackgroundJob job(
      [&] { return ++rounds == 1 ? absl::DataLossError("broken") : absl::OkStatus(); });
  const auto first = job.Request();
  job.WaitIdle();
  EXPECT_TRUE(job.Wait(base::OpContext::Background(), job.Request()).ok());
  EXPECT_TRUE(absl::IsDataLoss(job.Wait(base::OpContext::Background(), first)));
}

TEST(BackgroundJobTest, StopBeginsNoFurtherRound) {
  Gate gate;
  std::atomic<int> rounds = 0;
  BackgroundJob job([&] {
    gate.Pass();
    ++rounds;
    return absl::OkStatus();
  });
  gate.Close();
  const auto running = job.Request();
  gate.AwaitArrived(1);
  const auto waiting = job.Request();
  EXPECT_TRUE(absl::IsDeadlineExceeded(job.Wait(base::OpContext(absl::InfinitePast()), running)));
  std::thread stop([&] { job.Stop(); });
  EXPECT_TRUE(absl::IsCancelled(job.Wait(base::OpContext::Background(), waiting)));
  gate.Open();
  stop.join();
  EXPECT_TRUE(job.Wait(base::OpContext::Background(), running).ok());
  EXPECT_TRUE(absl::IsCancelled(job.Wait(base::OpContext::Background(), job.Request())));
  EXPECT_EQ(rounds, 1);
}

}  // namespace
}  // namespace berth::image
