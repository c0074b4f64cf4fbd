#include "lib/netns/sysctl.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::netns {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::vector<SysctlWrite>> Plan(const std::string& name, const std::string& value,
                                              bool own_net = true, bool own_ipc = true) {
  return PlanSysctls({{name, value}}, own_net, own_ipc);
}

TEST(Sysctl, NamesBecomePaths) {
  const struct {
    const char* name;
    const char* path;
  } kCases[] = {
      {"net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"},
      {"net/ipv4/conf/eth0.100/forwarding", "/proc/sys/net/ipv4/conf/eth0.100/forwarding"},
      {"net.ipv4.conf.eth0/100.forwarding", "/proc/sys/net/ipv4/conf/eth0.100/forwarding"},
      {"kernel.shmmax", "/proc/sys/kernel/shmmax"},
      {"kernel.shm_rmid_forced", "/proc/sys/kernel/shm_rmid_forced"},
      {"kernel.msgmnb", "/proc/sys/kernel/msgmnb"},
      {"kernel.sem", "/proc/sys/kernel/sem"},
      {"fs.mqueue.msg_max", "/proc/sys/fs/mqueue/msg_max"},
  };
  for (const auto& c : kCases) {
    const auto plan = Plan(c.name, "1");
    ASSERT_TRUE(plan.ok()) << c.name << ": " << plan.status();
    ASSERT_EQ(plan->size(), 1u);
    EXPECT_EQ(plan->at(0).path, c.path);
    EXPECT_EQ(plan->at(0).name, c.name);
  }
}

TEST(Sysctl, RefusesWhatIsNotNamespaced) {
  for (const char* name : {"kernel.core_pattern", "kernel.hostname", "vm.overcommit_memory",
                           "fs.file-max", "kernel.semx", "fs.mqueue", "kernel", "network.x",
                           "kernel.shm/../core_pattern", "fs.mqueue.a.b", "net"}) {
    const auto plan = Plan(name, "1");
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(Sysctl, RefusesPathsThatLeave) {
  for (const char* name : {"net/../kernel/core_pattern", "net//ipv4", "/net/ipv4/ip_forward",
                           "net.ipv4.", ".net", "net/./x", "net/.hidden", "net/ipv4/..", "",
                           "net.ipv4 .x", "net.ipv4\n.x", "net.a+b", "net.a=b"}) {
    EXPECT_EQ(Plan(name, "1").status().code(), absl::StatusCode::kInvalidArgument)
        << "'" << name << "'";
  }
  EXPECT_FALSE(Plan("net." + std::string(300, 'a'), "1").ok());
}

TEST(Sysctl, RefusesOddValues) {
  // The first is the shape of CVE-2022-0811: a second assignment smuggled in a value.
  for (const char* value :
       {"0+kernel.core_pattern=|/bin/x", "1=2", "1\n2", "", "|/bin/sh", "$(x)", "\x01", "1;2"}) {
    EXPECT_EQ(Plan("net.ipv4.ip_forward", value).status().code(),
              absl::StatusCode::kInvalidArgument)
        << value;
  }
  EXPECT_FALSE(Plan("net.x", std::string(1025, '1')).ok());
  for (const char* value : {"0", "-1", "1024 65000", "4096\t87380 6291456", "fq_codel",
                            "8080,9000-9100", "2001:db8::1"}) {
    EXPECT_TRUE(Plan("net.ipv4.ip_forward", value).ok()) << value;
  }
}

TEST(Sysctl, NeedsThePodsOwnNamespace) {
  const auto net = Plan("net.ipv4.ip_forward", "1", false, true);
  EXPECT_EQ(net.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(net.status().message()), HasSubstr("network namespace"));
  const auto ipc = Plan("kernel.shmmax", "1", true, false);
  EXPECT_EQ(ipc.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ipc.status().message()), HasSubstr("ipc namespace"));
  EXPECT_TRUE(Plan("net.ipv4.ip_forward", "1", true, false).ok());
  EXPECT_TRUE(Plan("kernel.shmmax", "1", false, true).ok());
}

TEST(Sysctl, OneBadOneRefusesAll) {
  EXPECT_FALSE(
      PlanSysctls({{"net.ipv4.ip_forward", "1"}, {"vm.swappiness", "1"}}, true, true).ok());
}

TEST(Sysctl, CountIsBounded) {
  std::map<std::string, std::string> many;
  for (int i = 0; i < 257; ++i) {
    many["net.x" + std::to_string(i)] = "1";
  }
  EXPECT_FALSE(PlanSysctls(many, true, true).ok());
}

TEST(Sysctl, GroupsThatMayPing) {
  const std::vector<model::IdMapping> map = {{100000, 0, 65536}, {300000, 70000, 10}};
  const struct {
    const char* inside;
    const char* outside;
  } kCases[] = {
      {"0 2147483647", "100000 165535"},
      {"0 4294967295", "100000 165535"},
      {"0\t100", "100000 100100"},
      {"5 5", "100005 100005"},
      {"70003 70100", "300003 300009"},
      {"65536 70000", "65536 70000"},
      {"1 0", "1 0"},
      {"0", "0"},
      {"0 1 2", "0 1 2"},
      {"word", "word"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(PingGroupsOutside(c.inside, map), c.outside) << c.inside;
  }
}

}  // namespace
}  // namespace berth::netns
