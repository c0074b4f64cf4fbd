#include "lib/netns/interface_counters.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/process_runner.h"

namespace berth::netns {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kHeading[] =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop "
    "fifo colls carrier compressed\n";
constexpr char kLines[] =
    "    lo:    9999      20    0    0    0     0          0         0     9999      20    0    0  "
    "  "
    "0     0       0          0\n"
    "  eth0: 1000001      20    3    1    0     0          0         0     2002      15    4    0  "
    "  "
    "0     0       0          0\n"
    "net1:18446744073709551615 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
constexpr char kStat[] = "4242 (a ) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21\n";

TEST(ParseNetDevTest, EveryInterfaceButLoopback) {
  const auto counters = ParseNetDev(std::string(kHeading) + kLines);
  ASSERT_TRUE(counters.ok()) << counters.status();
  EXPECT_THAT(*counters, ElementsAre(InterfaceCounters{"eth0", 1000001, 3, 2002, 4},
                                     InterfaceCounters{"net1", 18446744073709551615u, 0, 7, 0}));
}

TEST(ParseNetDevTest, NothingButAHeading) {
  EXPECT_THAT(*ParseNetDev(kHeading), IsEmpty());
  EXPECT_THAT(*ParseNetDev(""), IsEmpty());
}

TEST(ParseNetDevTest, Garbage) {
  for (const char* line :
       {"eth0 1 2 3 4 5 6 7 8 9 10 11 12\n", "eth0: 1 2 3\n", ": 1 2 3 4 5 6 7 8 9 10 11 12\n",
        "eth0: 1 2 3 4 5 6 7 8 x 10 11 12\n", "eth0: -1 2 3 4 5 6 7 8 9 10 11 12\n",
        "eth0: 18446744073709551616 2 3 4 5 6 7 8 9 10 11 12\n", "\n", "\xff\xfe:\n"}) {
    EXPECT_EQ(ParseNetDev(std::string(kHeading) + line).status().code(),
              absl::StatusCode::kDataLoss)
        << line;
  }
}

class ReadInterfaceCountersTest : public ::testing::Test {
 protected:
  ReadInterfaceCountersTest() {
    char name[] = "/tmp/berth-counters-XXXXXX";
    proc_ = ::mkdtemp(name);
    std::filesystem::create_directories(proc_ + "/4242/net");
    Write("stat", kStat);
    Write("net/dev", std::string(kHeading) + kLines);
  }
  ~ReadInterfaceCountersTest() override { std::filesystem::remove_all(proc_); }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(proc_ + "/4242/" + name, text, 0644).ok());
  }
  std::string proc_;
};

TEST_F(ReadInterfaceCountersTest, OfTheProcessThatWasMeant) {
  const auto counters = ReadInterfaceCounters(4242, 777, proc_);
  ASSERT_TRUE(counters.ok()) << counters.status();
  EXPECT_EQ(counters->size(), 2u);
  EXPECT_EQ(ReadInterfaceCounters(4242, 778, proc_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadInterfaceCounters(4243, 777, proc_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ReadInterfaceCountersTest, AStatFileThatIsNone) {
  for (const char* text : {"", "4242", "4242 (x) S 1 2", "4242 (x"}) {
    Write("stat", text);
    EXPECT_FALSE(ReadInterfaceCounters(4242, 777, proc_).ok()) << text;
    EXPECT_FALSE(ReadInterfaceCounters(4242, 0, proc_).ok()) << text;
  }
}

TEST_F(ReadInterfaceCountersTest, WithoutNetDev) {
  std::filesystem::remove(proc_ + "/4242/net/dev");
  EXPECT_EQ(ReadInterfaceCounters(4242, 777, proc_).status().code(), absl::StatusCode::kNotFound);
}

TEST(ReadInterfaceCountersOfKernelTest, OfThisProcess) {
  const auto start = base::ProcessStartTime(::getpid());
  ASSERT_TRUE(start.ok());
  const auto counters = ReadInterfaceCounters(::getpid(), *start);
  EXPECT_TRUE(counters.ok()) << counters.status();
}

}  // namespace
}  // namespace berth::netns
