#include "lib/cdi/device_name.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::cdi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(DeviceNameTest, GoodNames) {
  for (const char* name : {"vendor.com/class=dev", "nvidia.com/gpu=0", "v/c=GPU-1:2.3_4",
                           "foo.bar.baz/foo-bar123.B_az=a", "v/c=9"}) {
    EXPECT_TRUE(CheckDeviceName(name).ok()) << name;
  }
}

TEST(DeviceNameTest, BadNames) {
  const std::string long_vendor = std::string(254, 'v') + "/c=d";
  const std::string long_class = "v/" + std::string(64, 'c') + "=d";
  for (const std::string& name : {std::string(),
                                  std::string("gpu"),
                                  std::string("/dev/fuse"),
                                  std::string("v=d"),
                                  std::string("v/=d"),
                                  std::string("/c=d"),
                                  std::string("v/c="),
                                  std::string("v/c"),
                                  std::string("9v/c=d"),
                                  std::string("v/9c=d"),
                                  std::string("v-/c=d"),
                                  std::string("v/c-=d"),
                                  std::string("v/c=-d"),
                                  std::string("v/c=d d"),
                                  std::string("v/c=d/e"),
                                  std::string("v/c/e=d"),
                                  std::string("v/c=d=e"),
                                  std::string("v\n/c=d"),
                                  long_vendor,
                                  long_class}) {
    const absl::Status status = CheckDeviceName(name);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  }
}

TEST(DeviceNameTest, RequestedOnceEach) {
  const auto devices =
      RequestedDevices({"v/c=1", "v/c=2", "v/c=1"}, {{"cdi.k8s.io/a", "v/c=2,v/c=3"},
                                                     {"cdi.k8s.io/b", "w/c=1"},
                                                     {"not.cdi.k8s.io/c", "nonsense"}});
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_THAT(*devices, ElementsAre("v/c=1", "v/c=2", "v/c=3", "w/c=1"));
}

TEST(DeviceNameTest, RequestedNonsense) {
  EXPECT_THAT(std::string(RequestedDevices({"gpu0"}, {}).status().message()),
              HasSubstr("CDI device 'gpu0' is not of the form"));
  for (const char* value : {"", "v/c=1,", "v/c=1, v/c=2"}) {
    const absl::Status status = RequestedDevices({}, {{"cdi.k8s.io/a", value}}).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("annotation 'cdi.k8s.io/a'")) << value;
  }
}

}  // namespace
}  // namespace berth::cdi
