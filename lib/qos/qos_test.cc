#include <unistd.h>

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/qos/blockio.h"
#include "lib/qos/class_names.h"
#include "lib/qos/rdt.h"

namespace berth::qos {
namespace {

using model::BlockIoDevice;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ClassOfTest, TheContainersOwnThenThePodsForItThenThePods) {
  Annotations container;
  Annotations pod;
  const auto name = [&] { return ClassOf("blockio", "app", container, pod); };
  EXPECT_EQ(name(), "");
  pod["rdt.resources.beta.kubernetes.io/pod"] = "other";
  pod["io.kubernetes.cri.blockio-class"] = "not the pod's to say";
  pod["blockio.resources.beta.kubernetes.io/container.ap"] = "another container's";
  EXPECT_EQ(name(), "");
  pod["blockio.resources.beta.kubernetes.io/pod"] = "third";
  EXPECT_EQ(name(), "third");
  pod["blockio.resources.beta.kubernetes.io/container.app"] = "second";
  EXPECT_EQ(name(), "second");
  container["io.kubernetes.cri.blockio-class"] = "first";
  EXPECT_EQ(name(), "first");
  EXPECT_EQ(ClassOf("rdt", "app", container, pod), "other");
}

constexpr char kClasses[] = R"(
Classes:
  slow:
    - Weight: 80
    - Devices: [/dev/sd*, "/dev/vd[a-z]"]
      ThrottleReadBps: 50M
      ThrottleWriteBps: 10Mi
      ThrottleReadIOPS: 10k
      ThrottleWriteIOPS: 5000
      Weight: 50
    - Devices:
        - /dev/disk/by-id/*SSD*
      ThrottleReadBps: 1G
  fast:
    - Weight: 400
  plain: []
)";

std::vector<DeviceNumbers> Machine(const std::string& pattern) {
  if (pattern == "/dev/sd*") {
    return {{8, 16}, {8, 0}};
  }
  return pattern == "/dev/disk/by-id/*SSD*" ? std::vector<DeviceNumbers>{{8, 16}}
                                            : std::vector<DeviceNumbers>();
}

TEST(BlockioClassesTest, TheLastEntryForADeviceCounts) {
  const auto classes = BlockioClasses::Parse(kClasses);
  ASSERT_TRUE(classes.ok()) << classes.status();
  const auto slow = classes->Resolve("slow", Machine);
  ASSERT_TRUE(slow.ok()) << slow.status();
  EXPECT_EQ(slow->weight, 80);
  EXPECT_THAT(slow->devices,
              ElementsAre(BlockIoDevice{8, 0, 50, 50'000'000, 10 << 20, 10'000, 5000},
                          BlockIoDevice{8, 16, 0, 1'000'000'000, 0, 0, 0}));
  EXPECT_EQ(classes->Resolve("fast", Machine)->weight, 400);
  EXPECT_THAT(classes->Resolve("plain", Machine)->devices, IsEmpty());
  const absl::Status unknown = classes->Resolve("s\nlow", Machine).status();
  EXPECT_TRUE(absl::IsInvalidArgument(unknown));
  EXPECT_THAT(std::string(unknown.message()),
              AllOf(HasSubstr("no blockio class"), HasSubstr("'fast', 'plain', 'slow'")));
}

struct BadCase {
  const char* text;
  const char* message;
};

TEST(BlockioClassesTest, NonsenseIsNamed) {
  const BadCase cases[] = {
      {"", "empty"},
      {"- a", "object"},
      {"Classes:", "'Classes' is empty"},
      {"Classes: {}\nclasses: {}", "'classes'"},
      {"Classes: 5", "Classes"},
      {"Classes: {a: 5}", "Classes.a"},
      {"Classes: {a: [5]}", "Classes.a[0]"},
      {"Classes: {a: [{}]}", "Classes.a[0].Devices"},
      {"Classes: {a: [{Devices: [/dev/sda], weight: 5}]}", "'Classes.a[0].weight'"},
      {"Classes: {a: [{Devices: /dev/sda}]}", "Classes.a[0].Devices"},
      {"Classes: {a: [{Devices: [sda], Weight: 50}]}", "no absolute path"},
      {"Classes: {a: [{Weight: 9}]}", "not from 10 to 1000"},
      {"Classes: {a: [{Weight: 1001}]}", "not from 10 to 1000"},
      {"Classes: {a: [{Weight: 0}]}", "not from 10 to 1000"},
      {"Classes: {a: [{Weight: fast}]}", "Classes.a[0].Weight"},
      {"Classes: {a: [{ThrottleReadBps: 5}]}", "without devices"},
      {"Classes: {a: [{Weight: 50, ThrottleReadIOPS: 5}]}", "without devices"},
      {"Classes: {a: [{Devices: [/d], ThrottleReadBps: ''}]}", "ThrottleReadBps' is empty"},
      {"Classes: {a: [{Devices: [/d], ThrottleReadBps: 0}]}", "not a number from 1 on"},
      {"Classes: {a: [{Devices: [/d], ThrottleReadBps: -5}]}", "not a number from 1 on"},
      {"Classes: {a: [{Devices: [/d], ThrottleReadBps: 5m}]}", "not a number from 1 on"},
      {"Classes: {a: [{Devices: [/d], ThrottleReadBps: 1.5M}]}", "not a number from 1 on"},
      {"Classes: {a: [{Devices: [/d], ThrottleReadBps: 99999999T}]}", "not a number from 1 on"},
      {"Classes: {a: [{Devices: [/d], ThrottleReadBps: [5]}]}", "ThrottleReadBps"},
      {"Classes: {a: [], a: []}", "twice"},
      {"Classes: {a: [}", "not YAML"},
  };
  for (const BadCase& bad : cases) {
    const auto classes = BlockioClasses::Parse(bad.text);
    EXPECT_TRUE(absl::IsInvalidArgument(classes.status())) << bad.text << classes.status();
    EXPECT_THAT(std::string(classes.status().message()), HasSubstr(bad.message)) << bad.text;
  }
}

TEST(BlockioClassesTest, AFileIsNamedInItsErrors) {
  const absl::Status status = BlockioClasses::Load("/nowhere/blockio.yaml").status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("'/nowhere/blockio.yaml'"));
}

TEST(FindBlockDevicesTest, WhatIsNoBlockDeviceDoesNotMatch) {
  EXPECT_THAT(FindBlockDevices("/dev/null"), IsEmpty());
  EXPECT_THAT(FindBlockDevices("/etc/pass*"), IsEmpty());
  EXPECT_THAT(FindBlockDevices("/nowhere/*"), IsEmpty());
  EXPECT_THAT(FindBlockDevices("[["), IsEmpty());
}

TEST(RdtClassTest, IsAGroupOfResctrl) {
  char folder[] = "/tmp/berth-qos-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string sys = folder;
  EXPECT_TRUE(absl::IsFailedPrecondition(RdtClass("gold", sys).status()));
  for (const char* group : {"", "/gold", "/mon_groups/m"}) {
    const std::string path = sys + "/fs/resctrl" + group;
    ASSERT_TRUE(base::MakeDirs(path).ok());
    ASSERT_TRUE(base::WriteFile(path + "/schemata", "", 0600).ok());
  }
  ASSERT_TRUE(base::MakeDirs(sys + "/fs/resctrl/info").ok());
  EXPECT_EQ(RdtClass("gold", sys)->clos_id, "gold");
  for (const std::string& name :
       {std::string("silver"), std::string("info"), std::string(), std::string("."),
        std::string(".."), std::string("mon_groups/m"), std::string("gold\0x", 6)}) {
    const absl::Status status = RdtClass(name, sys).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << name << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("no RDT class")) << name;
  }
  EXPECT_TRUE(base::RemoveTree(sys).ok());
}

}  // namespace
}  // namespace berth::qos
