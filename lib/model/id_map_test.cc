#include "lib/model/id_map.h"

#include "gtest/gtest.h"

namespace berth::model {
namespace {

TEST(IdMapTest, IdsOutside) {
  const std::vector<IdMapping> map = {{100000, 0, 1000}, {300000, 5000, 10}};
  EXPECT_EQ(IdOutside(map, 0), 100000u);
  EXPECT_EQ(IdOutside(map, 999), 100999u);
  EXPECT_EQ(IdOutside(map, 1000), std::nullopt);
  EXPECT_EQ(IdOutside(map, 5009), 300009u);
  EXPECT_EQ(IdOutside(map, 5010), std::nullopt);
  EXPECT_EQ(IdOutside(map, -1), std::nullopt);
  EXPECT_EQ(IdOutside({}, 0), std::nullopt);
  EXPECT_EQ(IdMapText(map), "0 100000 1000\n5000 300000 10\n");
  EXPECT_EQ(IdRanges(map), "0-999, 5000-5009");
}

TEST(IdMapTest, Faults) {
  const struct {
    std::vector<IdMapping> map;
    const char* fault;
  } kCases[] = {
      {{{100000, 0, 65536}}, ""},
      {{{65536, 0, 65536}, {0, 65536, 65536}}, ""},
      {{{4294967294, 0, 1}}, ""},
      {{{1, 0, 4294967294}}, ""},
      {{}, " is empty"},
      {std::vector<IdMapping>(341), " has 341 entries; at most 340 are allowed"},
      {{{1, 0, 0}}, "[0].length is 0"},
      {{{4294967295, 0, 1}},
       "[0] goes beyond the last id, 4294967294: host_id 4294967295, length 1"},
      {{{1, 0, 4294967295}},
       "[0] goes beyond the last id, 4294967294: host_id 1, length 4294967295"},
      {{{1, 0, 1}, {9, 4294967290, 6}},
       "[1] goes beyond the last id, 4294967294: container_id 4294967290, length 6"},
      {{{1, 0, 10}, {100, 9, 5}}, "[0] and [1] overlap in the container"},
      {{{1, 0, 10}, {5, 50, 1}}, "[0] and [1] overlap on the host"},
      {{{100, 50, 1}, {1, 0, 10}, {110, 40, 11}}, "[0] and [2] overlap in the container"},
      {{{100000, 1, 65535}}, ""},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(FaultOfIdMap(c.map), c.fault);
  }
}

}  // namespace
}  // namespace berth::model
