#include "lib/security/capabilities.h"

#include <linux/capability.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::security {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

CapabilitySet Set(std::initializer_list<int> numbers) {
  CapabilitySet set = 0;
  for (const int number : numbers) {
    set |= CapabilitySet{1} << number;
  }
  return set;
}

model::ContainerSecurity Request(std::vector<std::string> add, std::vector<std::string> drop) {
  model::ContainerSecurity security;
  security.add_capabilities = std::move(add);
  security.drop_capabilities = std::move(drop);
  return security;
}

TEST(Capabilities, NamesAreTheKernels) {
  EXPECT_EQ(CapabilityName(CAP_CHOWN), "CAP_CHOWN");
  EXPECT_EQ(CapabilityName(CAP_SETPCAP), "CAP_SETPCAP");
  EXPECT_EQ(CapabilityName(CAP_NET_RAW), "CAP_NET_RAW");
  EXPECT_EQ(CapabilityName(CAP_SYS_ADMIN), "CAP_SYS_ADMIN");
  EXPECT_EQ(CapabilityName(CAP_SYS_RESOURCE), "CAP_SYS_RESOURCE");
  EXPECT_EQ(CapabilityName(CAP_SETFCAP), "CAP_SETFCAP");
  EXPECT_EQ(CapabilityName(CAP_CHECKPOINT_RESTORE), "CAP_CHECKPOINT_RESTORE");
  EXPECT_EQ(CAP_LAST_CAP, kLastCapability);
  for (int number = 0; number <= kLastCapability; ++number) {
    EXPECT_EQ(ParseCapability(CapabilityName(number)), number);
    EXPECT_EQ(ParseCapability(CapabilityName(number).substr(4)), number);
  }
  EXPECT_EQ(ParseCapability("net_bind_service"), CAP_NET_BIND_SERVICE);
  EXPECT_EQ(ParseCapability("cap_kill"), CAP_KILL);
  EXPECT_FALSE(ParseCapability("").has_value());
  EXPECT_FALSE(ParseCapability("CAP_").has_value());
  EXPECT_FALSE(ParseCapability("CAP_CAP_KILL").has_value());
  EXPECT_FALSE(ParseCapability("_KILL").has_value());
}

TEST(Capabilities, DefaultSet) {
  EXPECT_THAT(CapabilityNames(DefaultCapabilities()),
              ElementsAre("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
                          "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE"));
}

TEST(Capabilities, GrantTable) {
  const CapabilitySet defaults = DefaultCapabilities();
  struct Case {
    std::vector<std::string> add, drop;
    CapabilitySet granted;
  };
  const std::vector<Case> cases = {
      {{}, {}, defaults},
      {{"NET_RAW"}, {}, defaults | Set({CAP_NET_RAW})},
      {{"net_raw"}, {"CAP_CHOWN"}, (defaults | Set({CAP_NET_RAW})) & ~Set({CAP_CHOWN})},
      {{}, {"ALL"}, 0},
      {{"NET_RAW"}, {"all"}, Set({CAP_NET_RAW})},
      {{"ALL"}, {}, kAllCapabilities},
      {{"ALL"}, {"CHOWN"}, kAllCapabilities & ~Set({CAP_CHOWN})},
      {{"ALL"}, {"ALL"}, 0},
      {{"ALL", "KILL"}, {"ALL"}, Set({CAP_KILL})},
      {{"CHOWN"}, {"CHOWN"}, defaults & ~Set({CAP_CHOWN})},
  };
  for (const Case& c : cases) {
    const auto granted = GrantCapabilities(Request(c.add, c.drop), defaults, kAllCapabilities);
    ASSERT_TRUE(granted.ok()) << granted.status();
    EXPECT_EQ(granted->granted, c.granted)
        << ::testing::PrintToString(c.add) << ::testing::PrintToString(c.drop);
    EXPECT_EQ(granted->ambient, 0u);
    EXPECT_EQ(granted->clamped, 0u);
  }
}

TEST(Capabilities, ClampsToTheBoundingSetAndSaysSo) {
  const CapabilitySet bounding = kAllCapabilities & ~Set({CAP_SYS_RESOURCE});
  auto granted = GrantCapabilities(Request({"ALL"}, {}), DefaultCapabilities(), bounding);
  ASSERT_TRUE(granted.ok());
  EXPECT_EQ(granted->granted, bounding);
  EXPECT_THAT(CapabilityNames(granted->clamped), ElementsAre("CAP_SYS_RESOURCE"));

  model::ContainerSecurity privileged = Request({}, {"ALL"});
  privileged.privileged = true;
  granted = GrantCapabilities(privileged, DefaultCapabilities(), bounding);
  ASSERT_TRUE(granted.ok());
  EXPECT_EQ(granted->granted, bounding);
  EXPECT_EQ(granted->ambient, bounding);
  EXPECT_EQ(granted->clamped, Set({CAP_SYS_RESOURCE}));
}

TEST(Capabilities, AmbientIsGrantedToo) {
  model::ContainerSecurity security = Request({}, {"ALL"});
  security.add_ambient_capabilities = {"NET_BIND_SERVICE"};
  const auto granted = GrantCapabilities(security, DefaultCapabilities(), kAllCapabilities);
  ASSERT_TRUE(granted.ok());
  EXPECT_EQ(granted->granted, Set({CAP_NET_BIND_SERVICE}));
  EXPECT_EQ(granted->ambient, Set({CAP_NET_BIND_SERVICE}));

  security.drop_capabilities = {"NET_BIND_SERVICE"};
  const auto dropped = GrantCapabilities(security, DefaultCapabilities(), kAllCapabilities);
  ASSERT_TRUE(dropped.ok());
  EXPECT_EQ(dropped->ambient, 0u);
  EXPECT_EQ(dropped->granted & Set({CAP_NET_BIND_SERVICE}), 0u);
}

TEST(Capabilities, UnknownNameIsRefused) {
  const auto granted =
      GrantCapabilities(Request({"FLY"}, {}), DefaultCapabilities(), kAllCapabilities);
  EXPECT_EQ(granted.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(granted.status().message()), HasSubstr("'FLY'"));
  EXPECT_FALSE(ParseCapabilities({"CHOWN", "CHWON"}).ok());
  EXPECT_EQ(*ParseCapabilities({"CHOWN", "KILL"}), Set({CAP_CHOWN, CAP_KILL}));
}

TEST(Capabilities, ReadsTheBoundingSet) {
  const std::string root = ::testing::TempDir() + "/capabilities_proc";
  ASSERT_TRUE(base::MakeDirs(root + "/self").ok());
  ASSERT_TRUE(base::WriteFile(root + "/self/status",
                              "Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\n"
                              "CapAmb:\t0000000000000001\n",
                              0600)
                  .ok());
  const auto set = ReadOwnBoundingSet(root);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(*set, 0x1fffeffffffu);

  ASSERT_TRUE(base::WriteFile(root + "/self/status", "Name:\tCapBnd\n", 0600).ok());
  EXPECT_EQ(ReadOwnBoundingSet(root).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(base::RemoveTree(root).ok());
  EXPECT_TRUE(ReadOwnBoundingSet().ok());
}

}  // namespace
}  // namespace berth::security
