#include "lib/cni/bandwidth.h"

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::cni {
namespace {

using ::testing::HasSubstr;

TEST(Quantity, Values) {
  const struct {
    const char* text;
    int64_t value;
  } kCases[] = {
      {"0", 0},
      {"10", 10},
      {"+10", 10},
      {"-0", 0},
      {"1k", 1000},
      {"10M", 10'000'000},
      {"1G", 1'000'000'000},
      {"2T", 2'000'000'000'000},
      {"1P", 1'000'000'000'000'000},
      {"1E", 1'000'000'000'000'000'000},
      {"1Ki", 1024},
      {"1.5Gi", 1'610'612'736},
      {"0.5Ki", 512},
      {"7Ei", 8070450532247928832},
      {"9223372036854775807", INT64_MAX},
      {"1e3", 1000},
      {"1E3", 1000},
      {"1.25e+2", 125},
      {"12e-1", 2},  // 1.2, rounded up
      {"1500m", 2},
      {"1m", 1},
      {"1n", 1},
      {"2000000u", 2},
      {".5k", 500},
      {"5.", 5},
      {"0.000000000000000000001", 1},
  };
  for (const auto& c : kCases) {
    const absl::StatusOr<int64_t> value = ParseQuantity(c.text);
    ASSERT_TRUE(value.ok()) << c.text << ": " << value.status();
    EXPECT_EQ(*value, c.value) << c.text;
  }
}

TEST(Quantity, NotQuantities) {
  for (const char* text : {"",
                           "M",
                           ".",
                           "1..2",
                           "1 M",
                           " 1",
                           "1Mb",
                           "1mi",
                           "1K",
                           "1e",
                           "1ee3",
                           "1e3k",
                           "1e333",
                           "0x10",
                           "-1",
                           "-1m",
                           "9223372036854775808",
                           "8Ei",
                           "10E",
                           "99e99",
                           "+",
                           "1,5",
                           "1i",
                           "1Ki2",
                           "1e+",
                           "--1"}) {
    EXPECT_EQ(ParseQuantity(text).status().code(), absl::StatusCode::kInvalidArgument)
        << "'" << text << "'";
  }
  EXPECT_FALSE(ParseQuantity(std::string(100, '1')).ok());
  EXPECT_FALSE(ParseQuantity(std::string(30, '9') + "Ei").ok());
}

TEST(BandwidthTest, FromAnnotations) {
  const auto none = BandwidthFromAnnotations({{"other", "10M"}});
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());

  const auto both = BandwidthFromAnnotations(
      {{"kubernetes.io/ingress-bandwidth", "10M"}, {"kubernetes.io/egress-bandwidth", "1Gi"}});
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(**both, (Bandwidth{10'000'000, UINT32_MAX, 1'073'741'824, UINT32_MAX}));

  const auto one = BandwidthFromAnnotations({{"kubernetes.io/egress-bandwidth", "1k"}});
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(**one, (Bandwidth{0, 0, 1000, UINT32_MAX}));
}

TEST(BandwidthTest, Refused) {
  for (const char* value : {"", "fast", "0", "999", "-10M", "2P", "1000001G"}) {
    const auto result = BandwidthFromAnnotations({{"kubernetes.io/ingress-bandwidth", value}});
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << value;
    EXPECT_THAT(std::string(result.status().message()),
                HasSubstr("kubernetes.io/ingress-bandwidth"));
  }
}

}  // namespace
}  // namespace berth::cni
