#include "tests/bench/samples.h"

#include <vector>

#include "gtest/gtest.h"

namespace berth::bench {
namespace {

std::vector<absl::Duration> UpTo(int count) {
  std::vector<absl::Duration> durations;
  for (int i = 1; i <= count; ++i) {
    durations.push_back(absl::Milliseconds(i));
  }
  return durations;
}

TEST(Percentile, IsTheNearestRank) {
  EXPECT_EQ(Samples::Percentile(UpTo(100), 50), absl::Milliseconds(50));
  EXPECT_EQ(Samples::Percentile(UpTo(100), 99), absl::Milliseconds(99));
  EXPECT_EQ(Samples::Percentile(UpTo(10), 90), absl::Milliseconds(9));
  EXPECT_EQ(Samples::Percentile(UpTo(10), 99), absl::Milliseconds(10));
  EXPECT_EQ(Samples::Percentile(UpTo(3), 50), absl::Milliseconds(2));
  EXPECT_EQ(Samples::Percentile(UpTo(1), 0), absl::Milliseconds(1));
  EXPECT_EQ(Samples::Percentile(UpTo(1), 100), absl::Milliseconds(1));
}

TEST(SamplesTest, PrintsOperationsInTheOrderTheyCame) {
  Samples samples;
  samples.Add("Start", absl::Milliseconds(4));
  samples.Add("Create", absl::Microseconds(1234));
  samples.Add("Start", absl::Milliseconds(2));
  EXPECT_EQ(
      samples.ToJson(false).dump(),
      R"({"Start":{"count":2,"p50_ms":2.0,"p90_ms":4.0,"p99_ms":4.0,"min_ms":2.0,"max_ms":4.0,"mean_ms":3.0},)"
      R"("Create":{"count":1,"p50_ms":1.234,"p90_ms":1.234,"p99_ms":1.234,"min_ms":1.234,"max_ms":1.234,)"
      R"("mean_ms":1.234}})");
  EXPECT_EQ(samples.ToJson(true)["Start"]["samples_ms"].dump(), "[4.0,2.0]");
}

TEST(SamplesTest, PrintsNothingOfNothing) { EXPECT_EQ(Samples().ToJson(true).dump(), "{}"); }

}  // namespace
}  // namespace berth::bench
