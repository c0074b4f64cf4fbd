// Fixture trees of both cgroup versions; the kernel's own are in tests/integration/test_stats.py.
#include "lib/cgroup/usage.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::cgroup {
namespace {

// As the kernel orders it: own numbers, the tightest limits, those of the cgroups below too.
constexpr char kV1Stat[] =
    "cache 1\nrss 2\ninactive_file 3\npgfault 4\npgmajfault 5\nswap 6\n"
    "hierarchical_memory_limit {}\n{}"
    "total_cache 40960\ntotal_rss 8192\ntotal_swap 4096\ntotal_pgfault 77\ntotal_pgmajfault 3\n"
    "total_inactive_file 16384\n";
constexpr char kV2Stat[] =
    "anon 8192\nfile 40960\nkernel 1\ninactive_anon 5\nactive_file 6\ninactive_file 16384\n"
    "pgfault 77\npgmajfault 3\nworkingset_refault_anon 9\n";
constexpr char kPressure[] =
    "some avg10=1.50 avg60=0.25 avg300=12.00 total=123456\n"
    "full avg10=0.00 avg60=0.00 avg300=0.01 total=99\n";

class UsageTest : public ::testing::Test {
 protected:
  UsageTest() {
    char name[] = "/tmp/berth-usage-XXXXXX";
    root_ = ::mkdtemp(name);
  }
  ~UsageTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::string whole = root_ + "/sys/" + path;
    std::filesystem::create_directories(std::filesystem::path(whole).parent_path());
    ASSERT_TRUE(base::WriteFile(whole, text, 0644).ok());
  }
  Hierarchy Detect(const std::string& mountinfo) { return Detect(mountinfo, root_ + "/sys"); }
  Hierarchy Detect(const std::string& mountinfo, const std::string& top) {
    std::filesystem::create_directories(root_ + "/proc/self");
    EXPECT_TRUE(base::WriteFile(root_ + "/proc/self/mountinfo", mountinfo, 0644).ok());
    return *Hierarchy::Detect(top, root_ + "/proc");
  }
  Hierarchy V1() {
    std::string text;
    for (const char* controller : {"cpuacct", "memory", "pids"}) {
      text += fmt::format("30 22 0:26 / {}/sys/{} rw - cgroup cgroup rw,{}\n", root_, controller,
                          controller);
    }
    return Detect(text);
  }
  Hierarchy V2() {
    return Detect(fmt::format("30 22 0:26 / {}/sys rw - cgroup2 cgroup2 rw\n", root_));
  }
  void FillV1() {
    Write("cpuacct/pod/c/cpuacct.usage", "5000000001\n");
    Write("memory/pod/c/memory.usage_in_bytes", "65536\n");
    V1Limits("1048576", "1048576", "hierarchical_memsw_limit 2097152\n");
    Write("pids/pod/c/pids.current", "7\n");
  }
  void V1Limits(const std::string& own, const std::string& tightest, const std::string& memsw) {
    Write("memory/pod/c/memory.stat", fmt::format(kV1Stat, tightest, memsw));
    Write("memory/pod/c/memory.limit_in_bytes", own + "\n");
  }
  void FillV2() {
    Write("pod/c/cpu.stat", "usage_usec 5000000\nuser_usec 4000000\nsystem_usec 1000000\n");
    Write("pod/c/memory.current", "65536\n");
    Write("pod/c/memory.stat", kV2Stat);
    Write("pod/c/memory.max", "1048576\n");
    Write("pod/c/memory.swap.current", "4096\n");
    Write("pod/c/memory.swap.max", "1048576\n");
    Write("pod/c/pids.current", "7\n");
    Write("pod/c/io.pressure", kPressure);
  }

  std::string root_;
};

void ExpectTheSameMemory(const Usage& usage) {
  EXPECT_EQ(usage.memory_bytes, 65536u);
  EXPECT_EQ(usage.rss_bytes, 8192u);
  EXPECT_EQ(usage.page_faults, 77u);
  EXPECT_EQ(usage.major_page_faults, 3u);
  EXPECT_EQ(usage.WorkingSetBytes(), 49152u);
  EXPECT_EQ(usage.AvailableBytes(), 1048576u - 49152u);
  EXPECT_EQ(usage.swap_bytes, 4096u);
  EXPECT_EQ(usage.SwapAvailableBytes(), 1048576u - 4096u);
}

TEST_F(UsageTest, ReadsV1) {
  FillV1();
  const Hierarchy hierarchy = V1();
  const Usage usage = UsageReader(hierarchy).Read("/pod/c");
  EXPECT_EQ(usage.cpu_ns, 5000000001u);
  ExpectTheSameMemory(usage);
  EXPECT_FALSE(usage.io_pressure);
  EXPECT_EQ(UsageReader(hierarchy).Tasks("/pod/c"), 7u);
}

TEST_F(UsageTest, ReadsV2) {
  FillV2();
  const Hierarchy hierarchy = V2();
  const Usage usage = UsageReader(hierarchy).Read("/pod/c");
  EXPECT_EQ(usage.cpu_ns, 5000000000u);
  ExpectTheSameMemory(usage);
  ASSERT_TRUE(usage.io_pressure);
  EXPECT_EQ(usage.io_pressure->some.total_us, 123456u);
  EXPECT_DOUBLE_EQ(usage.io_pressure->some.avg10, 1.5);
  EXPECT_DOUBLE_EQ(usage.io_pressure->some.avg60, 0.25);
  EXPECT_DOUBLE_EQ(usage.io_pressure->some.avg300, 12);
  EXPECT_EQ(usage.io_pressure->full.total_us, 99u);
  EXPECT_FALSE(usage.cpu_pressure);
  EXPECT_EQ(UsageReader(hierarchy).Tasks("/pod/c"), 7u);
}

TEST_F(UsageTest, WithoutALimitNothingIsAvailable) {
  FillV1();
  for (const char* unlimited : {"9223372036854771712", "9223372036854710272"}) {  // 4k, 64k pages
    V1Limits(unlimited, unlimited, fmt::format("hierarchical_memsw_limit {}\n", unlimited));
    const Usage usage = UsageReader(V1()).Read("/pod/c");
    EXPECT_EQ(usage.WorkingSetBytes(), 49152u);
    EXPECT_FALSE(usage.AvailableBytes());
    EXPECT_EQ(usage.swap_bytes, 4096u);
    EXPECT_FALSE(usage.SwapAvailableBytes());
  }
  // A limit of the pod's is not the container's.
  V1Limits("9223372036854771712", "4096", "hierarchical_memsw_limit 8192\n");
  EXPECT_FALSE(UsageReader(V1()).Read("/pod/c").AvailableBytes());
  EXPECT_FALSE(UsageReader(V1()).Read("/pod/c").SwapAvailableBytes());
  FillV2();
  Write("pod/c/memory.max", "max\n");
  Write("pod/c/memory.swap.max", "max\n");
  const Usage usage = UsageReader(V2()).Read("/pod/c");
  EXPECT_FALSE(usage.AvailableBytes());
  EXPECT_EQ(usage.swap_bytes, 4096u);
  EXPECT_FALSE(usage.SwapAvailableBytes());
}

TEST_F(UsageTest, TheLimitsOfTheCgroupThatCrunMakesBelowAScope) {
  FillV2();
  Write("pod/c/memory.max", "max\n");
  Write("pod/c/memory.swap.max", "max\n");
  Write("pod/c/container/memory.max", "2097152\n");
  Write("pod/c/container/memory.swap.max", "8192\n");
  EXPECT_EQ(UsageReader(V2()).Read("/pod/c").AvailableBytes(), 2097152u - 49152u);
  EXPECT_EQ(UsageReader(V2()).Read("/pod/c").SwapAvailableBytes(), 4096u);
}

TEST_F(UsageTest, WorkingSetAndAvailableAreNeverBelowZero) {
  FillV2();
  Write("pod/c/memory.current", "100\n");
  EXPECT_EQ(UsageReader(V2()).Read("/pod/c").WorkingSetBytes(), 0u);
  FillV2();
  Write("pod/c/memory.max", "4096\n");
  Write("pod/c/memory.swap.max", "0\n");
  EXPECT_EQ(UsageReader(V2()).Read("/pod/c").AvailableBytes(), 0u);
  EXPECT_EQ(UsageReader(V2()).Read("/pod/c").SwapAvailableBytes(), 0u);
  FillV1();
  V1Limits("1048576", "4096", "hierarchical_memsw_limit 4096\n");  // the pod's, below its own
  EXPECT_EQ(UsageReader(V1()).Read("/pod/c").SwapAvailableBytes(), 0u);
}

TEST_F(UsageTest, WhatIsMissingIsAbsentAndTheRestIsThere) {
  FillV1();
  std::filesystem::remove_all(root_ + "/sys/cpuacct");
  V1Limits("1048576", "1048576", "");  // a kernel that does not account for swap
  Usage usage = UsageReader(V1()).Read("/pod/c");
  EXPECT_FALSE(usage.cpu_ns);
  EXPECT_EQ(usage.AvailableBytes(), 1048576u - 49152u);
  EXPECT_FALSE(usage.swap_bytes);
  EXPECT_FALSE(usage.SwapAvailableBytes());

  // The memory controller is not mounted at all.
  const Hierarchy pids_only =
      Detect(fmt::format("30 22 0:26 / {}/sys/pids rw - cgroup cgroup rw,pids\n", root_));
  usage = UsageReader(pids_only).Read("/pod/c");
  EXPECT_FALSE(usage.memory_bytes);
  EXPECT_FALSE(usage.WorkingSetBytes());

  FillV2();
  std::filesystem::remove(root_ + "/sys/pod/c/memory.stat");
  std::filesystem::remove(root_ + "/sys/pod/c/memory.swap.current");
  usage = UsageReader(V2()).Read("/pod/c");
  EXPECT_EQ(usage.memory_bytes, 65536u);
  EXPECT_FALSE(usage.WorkingSetBytes());
  EXPECT_FALSE(usage.rss_bytes);
  EXPECT_FALSE(usage.swap_bytes);
  EXPECT_FALSE(usage.swap_limit_bytes);
}

TEST_F(UsageTest, ACgroupThatIsGoneHasNothing) {
  const Usage usage = UsageReader(V2()).Read("/pod/none");
  EXPECT_FALSE(usage.cpu_ns);
  EXPECT_FALSE(usage.memory_bytes);
  EXPECT_FALSE(UsageReader(V1()).Tasks("/pod/none"));
}

TEST_F(UsageTest, GarbageIsAbsentNotANumber) {
  for (const std::string& garbage :
       {std::string(), std::string("\n"), std::string("-1\n"), std::string("12x\n"),
        std::string("0x10\n"), std::string("1 2\n"), std::string("18446744073709551616\n"),
        std::string(" 5\n"),
        std::string("1\0"
                    "2\n",
                    4),
        std::string(100000, '9')}) {
    FillV2();
    Write("pod/c/memory.current", garbage);
    Write("pod/c/cpu.stat", "usage_usec " + garbage);
    Write("pod/c/io.pressure", garbage);
    const Usage usage = UsageReader(V2()).Read("/pod/c");
    EXPECT_FALSE(usage.memory_bytes) << garbage.substr(0, 20);
    EXPECT_FALSE(usage.cpu_ns) << garbage.substr(0, 20);
    EXPECT_FALSE(usage.io_pressure) << garbage.substr(0, 20);
  }
}

TEST_F(UsageTest, HugeNumbers) {
  FillV2();
  Write("pod/c/memory.current", "18446744073709551615\n");
  Write("pod/c/cpu.stat", "usage_usec 18446744073709551615\n");  // more ns than fit
  const Usage usage = UsageReader(V2()).Read("/pod/c");
  EXPECT_EQ(usage.memory_bytes, 18446744073709551615u);
  EXPECT_FALSE(usage.cpu_ns);
  EXPECT_EQ(usage.AvailableBytes(), 0u);
}

TEST_F(UsageTest, ADirectoryInPlaceOfAFile) {
  std::filesystem::create_directories(root_ + "/sys/pod/c/memory.current");
  EXPECT_FALSE(UsageReader(V2()).Read("/pod/c").memory_bytes);
}

TEST(PressureTest, LinesThatAreNotAsTheKernelWritesThem) {
  ASSERT_TRUE(ParsePressure(kPressure));
  const auto some = ParsePressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n");
  ASSERT_TRUE(some);
  EXPECT_EQ(some->some.total_us, 5u);
  EXPECT_EQ(some->full.total_us, 0u);
  for (const char* text :
       {"", "some\n", "some \n", "some total\n", "some total=\n", "some avg10=x total=1\n",
        "some avg10=nan total=1\n", "some avg10=0.00\n", "full avg10=0.00 total=1\n",
        "some avg10=0.00 total=1\nfull total=-3\n"}) {
    EXPECT_FALSE(ParsePressure(text)) << text;
  }
}

TEST(PressureTest, TheKernelsOwnFiles) {
  for (const char* name : {"cpu", "memory", "io"}) {
    const auto text = base::ReadFile(fmt::format("/proc/pressure/{}", name), 4096);
    if (!text.ok()) {
      GTEST_SKIP() << "this kernel has no pressure stall information";
    }
    EXPECT_TRUE(ParsePressure(*text)) << *text;
  }
}

// A cgroup's own files, also where v2 is mounted beside v1 and has no controllers.
TEST_F(UsageTest, PressureOfARealCgroup) {
  const std::string top = base::PathExists("/sys/fs/cgroup/cgroup.controllers")
                              ? "/sys/fs/cgroup"
                              : "/sys/fs/cgroup/unified";
  const std::string name = fmt::format("/berth-psi-{}", ::getpid());
  if (::mkdir((top + name).c_str(), 0755) != 0) {
    GTEST_SKIP() << "needs root and a cgroup v2 tree";
  }
  const bool has_pressure = base::PathExists(top + name + "/cpu.pressure");
  const Hierarchy real = Detect(fmt::format("30 22 0:26 / {} rw - cgroup2 cgroup2 rw\n", top), top);
  const Usage usage = UsageReader(real).Read(name);
  EXPECT_EQ(::rmdir((top + name).c_str()), 0);
  if (!has_pressure) {
    GTEST_SKIP() << "this kernel has no pressure stall information";
  }
  EXPECT_TRUE(usage.cpu_pressure && usage.memory_pressure && usage.io_pressure);
}

}  // namespace
}  // namespace berth::cgroup
