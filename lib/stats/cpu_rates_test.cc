#include "lib/stats/cpu_rates.h"

#include <limits>

#include "gtest/gtest.h"

namespace berth::stats {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
const absl::Time kStart = absl::FromUnixSeconds(1000);

TEST(CpuRatesTest, TheFirstReadingHasNoRate) {
  CpuRates rates;
  EXPECT_FALSE(rates.Update("a", 5 * kSecond, kStart));
  EXPECT_EQ(rates.Update("a", 6 * kSecond, kStart + absl::Seconds(2)), kSecond / 2);
  EXPECT_EQ(rates.Update("a", 6 * kSecond, kStart + absl::Seconds(3)), 0u);
}

TEST(CpuRatesTest, ObjectsHaveTheirOwnReadings) {
  CpuRates rates;
  rates.Update("a", 0, kStart);
  EXPECT_FALSE(rates.Update("b", kSecond, kStart + absl::Seconds(1)));
  EXPECT_EQ(rates.Update("a", 3 * kSecond, kStart + absl::Seconds(1)), 3 * kSecond);
}

TEST(CpuRatesTest, ReadingsTooCloseGiveTheLastRateAndDoNotShortenTheWindow) {
  CpuRates rates;
  rates.Update("a", 0, kStart);
  EXPECT_FALSE(rates.Update("a", kSecond, kStart + absl::Milliseconds(1)));
  EXPECT_EQ(rates.Update("a", 2 * kSecond, kStart + absl::Seconds(1)), 2 * kSecond);
  EXPECT_EQ(rates.Update("a", 9 * kSecond, kStart + absl::Milliseconds(1001)), 2 * kSecond);
  EXPECT_EQ(rates.Update("a", 4 * kSecond, kStart + absl::Seconds(2)), 2 * kSecond);
}

TEST(CpuRatesTest, ACounterThatGoesBackBeginsAnew) {
  CpuRates rates;
  rates.Update("a", 5 * kSecond, kStart);
  EXPECT_EQ(rates.Update("a", 6 * kSecond, kStart + absl::Seconds(1)), kSecond);
  EXPECT_FALSE(rates.Update("a", kSecond, kStart + absl::Seconds(2)));
  EXPECT_EQ(rates.Update("a", 2 * kSecond, kStart + absl::Seconds(3)), kSecond);
}

TEST(CpuRatesTest, AnOlderReadingThatComesLateIsNotTaken) {
  CpuRates rates;
  rates.Update("a", 0, kStart);
  EXPECT_EQ(rates.Update("a", 2 * kSecond, kStart + absl::Seconds(2)), kSecond);
  EXPECT_EQ(rates.Update("a", kSecond, kStart + absl::Seconds(1)), kSecond);
  EXPECT_EQ(rates.Update("a", 3 * kSecond, kStart + absl::Seconds(3)), kSecond);
}

TEST(CpuRatesTest, HugeNumbers) {
  CpuRates rates;
  rates.Update("a", 0, kStart);
  EXPECT_EQ(
      rates.Update("a", std::numeric_limits<uint64_t>::max(), kStart + absl::Milliseconds(100)),
      1'000'000'000'000'000'000u);
}

TEST(CpuRatesTest, WhatNobodyAsksAboutIsForgotten) {
  CpuRates rates;
  rates.Update("a", 0, kStart);
  rates.Update("b", 0, kStart);
  rates.Update("a", 0, kStart + absl::Minutes(8));
  rates.Update("a", 0, kStart + absl::Minutes(12));
  EXPECT_EQ(rates.size(), 1u);
}

}  // namespace
}  // namespace berth::stats
