// The trees here are ordinary directories; what kernels do with the values is in the integration
// tests.
#include "lib/cgroup/limit_files.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::cgroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class LimitFilesTest : public ::testing::TestWithParam<Version> {
 protected:
  LimitFilesTest() {
    char name[] = "/tmp/berth-limits-XXXXXX";
    root_ = ::mkdtemp(name);
    std::string mountinfo;
    if (IsV2()) {
      mountinfo = fmt::format("30 22 0:26 / {}/sys rw - cgroup2 cgroup rw\n", root_);
    } else {
      for (const char* controller : {"cpu", "memory", "cpuset", "hugetlb"}) {
        mountinfo +=
            fmt::format("30 22 0:26 / {0}/sys/{1} rw - cgroup cgroup rw,{1}\n", root_, controller);
      }
    }
    Put("/proc/self/mountinfo", mountinfo);
  }
  ~LimitFilesTest() override { std::filesystem::remove_all(root_); }

  static bool IsV2() { return GetParam() == Version::kV2; }
  void Put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    ASSERT_TRUE(base::WriteFile(root_ + path, text, 0644).ok());
  }
  // Where a controller's files of the cgroup /c are.
  static std::string At(const std::string& controller, const std::string& file) {
    return IsV2() ? "/sys/c/" + file : "/sys/" + controller + "/c/" + file;
  }
  // A file of these trees keeps what a shorter write does not cover: the first line counts.
  std::string Get(const std::string& path) const {
    std::ifstream in(root_ + path);
    std::string line;
    std::getline(in, line);
    return line;
  }
  Hierarchy Trees() const { return *Hierarchy::Detect(root_ + "/sys", root_ + "/proc"); }

  std::string root_;
};

INSTANTIATE_TEST_SUITE_P(Versions, LimitFilesTest, ::testing::Values(Version::kV1, Version::kV2),
                         [](const auto& test) { return test.param == Version::kV1 ? "V1" : "V2"; });

TEST_P(LimitFilesTest, ReadsAndRestoresWhatIsConcerned) {
  const std::string limit = IsV2() ? "memory.max" : "memory.limit_in_bytes";
  Put(At("memory", limit), "100\n");
  Put(At("cpuset", "cpuset.cpus"), "\n");
  Put(At("cpu", "cpu.max"), "5 10\n");
  const LimitValues values = ReadLimits(Trees(), "/c", {.memory = true, .cpuset = true});
  EXPECT_THAT(values, ElementsAre(Pair("cpuset/cpuset.cpus", ""), Pair("memory/" + limit, "100")));
  Put(At("memory", limit), "200\n");
  Put(At("cpuset", "cpuset.cpus"), "0-1\n");
  ASSERT_TRUE(RestoreLimits(Trees(), "/c", values).ok());
  EXPECT_EQ(Get(At("memory", limit)), "100");
  EXPECT_EQ(Get(At("cpuset", "cpuset.cpus")), "");
  EXPECT_TRUE(RestoreLimits(Trees(), "/gone", values).ok());
}

TEST_P(LimitFilesTest, TheCgroupInsideCountsToo) {
  const std::string max = IsV2() ? "cpu.max" : "cpu.cfs_quota_us";
  Put(At("cpu", max), "5");
  Put(At("cpu", "container/" + max), "6");
  const LimitValues values = ReadLimits(Trees(), "/c", {.cpu = true});
  EXPECT_THAT(values, ElementsAre(Pair("cpu/container/" + max, "6"), Pair("cpu/" + max, "5")));
  ASSERT_TRUE(LiftCpuQuota(Trees(), "/c").ok());
  EXPECT_EQ(Get(At("cpu", "container/" + max)), IsV2() ? "max" : "-1");
  ASSERT_TRUE(RestoreLimits(Trees(), "/c", values).ok());
  EXPECT_EQ(Get(At("cpu", max)), "5");
  EXPECT_EQ(Get(At("cpu", "container/" + max)), "6");
}

TEST_P(LimitFilesTest, HugePagesUsedAndReserved) {
  const std::string end = IsV2() ? "max" : "limit_in_bytes";
  Put(At("hugetlb", "hugetlb.2MB." + end), "9");
  Put(At("hugetlb", "hugetlb.2MB.rsvd." + end), "9");
  ASSERT_TRUE(SetHugepageLimit(Trees(), "/c", "2MB", 4096).ok());
  EXPECT_EQ(Get(At("hugetlb", "hugetlb.2MB." + end)), "4096");
  EXPECT_EQ(Get(At("hugetlb", "hugetlb.2MB.rsvd." + end)), "4096");
  const absl::Status status = SetHugepageLimit(Trees(), "/c", "3MB", 1);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("3MB"));
}

TEST_P(LimitFilesTest, LiftsTheCpuQuota) {
  const std::string file = At("cpu", IsV2() ? "cpu.max" : "cpu.cfs_quota_us");
  Put(file, "");
  ASSERT_TRUE(LiftCpuQuota(Trees(), "/c").ok());
  EXPECT_EQ(Get(file), IsV2() ? "max" : "-1");
}

TEST_P(LimitFilesTest, MemoryInUseIsNotTakenAway) {
  Put(At("memory", IsV2() ? "memory.current" : "memory.usage_in_bytes"), "1000");
  Put(At("memory", "memory.stat"), IsV2() ? "anon 600\ninactive_file 300\nactive_file 100\n"
                                          : "inactive_file 1\ntotal_inactive_file 300\n"
                                            "total_active_file 100\n");
  EXPECT_TRUE(CheckMemoryFits(Trees(), "/c", 1000).ok());
  EXPECT_TRUE(CheckMemoryFits(Trees(), "/c", 600).ok());  // caches go
  const absl::Status status = CheckMemoryFits(Trees(), "/c", 599);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("uses 600 bytes"));
  if (IsV2()) {
    Put("/sys/c/memory.reclaim", "");
    EXPECT_TRUE(absl::IsFailedPrecondition(CheckMemoryFits(Trees(), "/c", 700)));  // they stayed
    EXPECT_EQ(Get("/sys/c/memory.reclaim"), "300");
  }
}

TEST_P(LimitFilesTest, OomScoreOfThoseThatHaveTheOldOne) {
  Put(At("memory", "cgroup.procs"), "7\n8\n9\n");
  Put("/proc/7/oom_score_adj", "500\n");
  Put("/proc/8/oom_score_adj", "800\n");  // chose its own; 9 has ended
  ASSERT_TRUE(ChangeOomScore(Trees(), "/c", 500, 300, root_ + "/proc").ok());
  EXPECT_EQ(Get("/proc/7/oom_score_adj"), "300");
  EXPECT_EQ(Get("/proc/8/oom_score_adj"), "800");
}

}  // namespace
}  // namespace berth::cgroup
