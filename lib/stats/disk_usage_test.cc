#include "lib/stats/disk_usage.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::stats {
namespace {

class DiskUsageTest : public ::testing::Test {
 protected:
  DiskUsageTest() {
    char name[] = "/var/tmp/berth-disk-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  ~DiskUsageTest() override { std::filesystem::remove_all(dir_); }

  void Write(const std::string& name, size_t bytes) {
    ASSERT_TRUE(base::WriteFile(dir_ + "/" + name, std::string(bytes, 'x'), 0644).ok());
  }
  // Waits for what a worker does.
  static bool Eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 2000; ++i) {
      if (holds()) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  static base::OpContext Budget() { return base::OpContext::WithTimeout(absl::Seconds(10)); }

  std::string dir_;
};

TEST_F(DiskUsageTest, TheFirstAskerWaitsForItsOwnMeasurement) {
  Write("f", 1 << 20);
  DiskUsage disk;
  const absl::Time before = absl::Now();
  const auto found = disk.Get(Budget(), "a", dir_);
  ASSERT_TRUE(found);
  EXPECT_GE(found->usage.bytes, 1u << 20);
  EXPECT_EQ(found->usage.inodes, 2u);
  EXPECT_GE(found->taken, before);
}

TEST_F(DiskUsageTest, AFreshValueIsNotMeasuredAgain) {
  DiskUsage disk;
  const auto first = disk.Get(Budget(), "a", dir_);
  ASSERT_TRUE(first);
  Write("f", 1 << 20);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto second = disk.Get(Budget(), "a", dir_);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->taken, first->taken);
  EXPECT_EQ(second->usage.inodes, 1u);
}

TEST_F(DiskUsageTest, AnOldValueIsHandedOutAndBecomesRight) {
  DiskUsage disk(absl::ZeroDuration());
  ASSERT_TRUE(disk.Get(Budget(), "a", dir_));
  Write("f", 1 << 20);
  EXPECT_TRUE(Eventually([&] { return disk.Get(Budget(), "a", dir_)->usage.inodes == 2; }));
  std::filesystem::remove(dir_ + "/f");
  EXPECT_TRUE(Eventually([&] { return disk.Get(Budget(), "a", dir_)->usage.inodes == 1; }));
}

TEST_F(DiskUsageTest, WithoutBudgetTheWorkerMeasures) {
  Write("f", 1 << 20);
  DiskUsage disk;
  const base::OpContext none(absl::InfinitePast());
  EXPECT_FALSE(disk.Get(none, "a", dir_));
  EXPECT_TRUE(Eventually([&] { return disk.Get(none, "a", dir_).has_value(); }));
  EXPECT_EQ(disk.Get(none, "a", dir_)->usage.inodes, 2u);
}

TEST_F(DiskUsageTest, ATreeThatIsNotThereIsAbsentAndNotKept) {
  DiskUsage disk;
  EXPECT_FALSE(disk.Get(Budget(), "a", dir_ + "/none"));
  EXPECT_EQ(disk.size(), 0u);
}

TEST_F(DiskUsageTest, ATreeThatVanishesIsForgotten) {
  DiskUsage disk(absl::ZeroDuration());
  ASSERT_TRUE(base::MakeDirs(dir_ + "/tree").ok());
  ASSERT_TRUE(disk.Get(Budget(), "a", dir_ + "/tree"));
  std::filesystem::remove(dir_ + "/tree");
  EXPECT_TRUE(Eventually([&] { return !disk.Get(Budget(), "a", dir_ + "/tree"); }));
}

TEST_F(DiskUsageTest, EndsInTheMiddleOfAMeasurement) {
  for (int i = 0; i < 200; ++i) {
    Write(std::to_string(i), 1);
  }
  const base::OpContext none(absl::InfinitePast());
  DiskUsage disk;
  for (int i = 0; i < 1000; ++i) {
    disk.Get(none, std::to_string(i), dir_);
  }
}

}  // namespace
}  // namespace berth::stats
