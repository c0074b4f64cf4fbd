// The trees here are ordinary directories: what the kernel adds to them (control files, EBUSY) is
// in hierarchy_root_test.cc.
#include "lib/cgroup/hierarchy.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/cgroup/pod_cgroups.h"
#include "lib/cgroup/testing/fake_scope_bus.h"

namespace berth::cgroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HierarchyTest : public ::testing::Test {
 protected:
  HierarchyTest() {
    char name[] = "/tmp/berth-cgroup-XXXXXX";
    root_ = ::mkdtemp(name);
    sys_ = root_ + "/sys";
    proc_ = root_ + "/proc";
    std::filesystem::create_directories(sys_);
    std::filesystem::create_directories(proc_ + "/self");
    std::filesystem::create_directories(proc_ + "/1");
  }
  ~HierarchyTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    ASSERT_TRUE(base::WriteFile(path, text, 0644).ok());
  }
  static std::string Read(const std::string& path) {
    return base::ReadFile(path, 4096).value_or("(absent)");
  }

  // Lines of (mount point below sys, type, super-options).
  void Mounts(const std::vector<std::array<std::string, 3>>& mounts) {
    std::string text = "22 1 8:1 / / rw - ext4 /dev/root rw\n";
    for (const auto& [at, type, options] : mounts) {
      std::filesystem::create_directories(sys_ + at);
      text += fmt::format("30 22 0:26 / {}{} rw,nosuid shared:9 - {} cgroup {}\n", sys_, at, type,
                          options);
    }
    Write(proc_ + "/self/mountinfo", text);
  }
  void MountV1() {
    Mounts({{"/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct"},
            {"/memory", "cgroup", "rw,memory"},
            {"/cpuset", "cgroup", "rw,cpuset,noprefix,release_agent=/x"},
            {"/systemd", "cgroup", "rw,xattr,name=systemd"},
            {"/unified", "cgroup2", "rw"}});
  }
  void MountV2() { Mounts({{"", "cgroup2", "rw,nsdelegate"}}); }
  Hierarchy Detected() {
    absl::StatusOr<Hierarchy> hierarchy = Hierarchy::Detect(sys_, proc_);
    EXPECT_TRUE(hierarchy.ok()) << hierarchy.status();
    return *hierarchy;
  }

  const base::OpContext ctx_ = base::OpContext::WithTimeout(absl::Seconds(20));
  std::string root_;
  std::string sys_;
  std::string proc_;
};

TEST_F(HierarchyTest, DetectsV1AndHybrid) {
  MountV1();
  const Hierarchy hybrid = Detected();
  EXPECT_EQ(hybrid.version(), Version::kV1);
  EXPECT_TRUE(hybrid.is_hybrid());
  ASSERT_EQ(hybrid.mounts().size(), 5u);
  EXPECT_THAT(hybrid.mounts()[0].controllers, ElementsAre("cpu", "cpuacct"));
  EXPECT_THAT(hybrid.mounts()[2].controllers, ElementsAre("cpuset"));
  EXPECT_THAT(hybrid.mounts()[3].controllers, ElementsAre("name=systemd"));
  EXPECT_THAT(hybrid.mounts()[4].controllers, IsEmpty());
  EXPECT_EQ(*hybrid.Dir("/pod1", "cpuacct"), sys_ + "/cpu,cpuacct/pod1");
  EXPECT_EQ(*hybrid.Dir("/pod1", "memory"), sys_ + "/memory/pod1");
  EXPECT_EQ(hybrid.Dir("/pod1", "hugetlb").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(hybrid.Dirs("/pod1").size(), 5u);

  Mounts({{"/memory", "cgroup", "rw,memory"}});
  EXPECT_FALSE(Detected().is_hybrid());
  EXPECT_EQ(Detected().version(), Version::kV1);
}

TEST_F(HierarchyTest, DetectsV2) {
  MountV2();
  const Hierarchy v2 = Detected();
  EXPECT_EQ(v2.version(), Version::kV2);
  EXPECT_FALSE(v2.is_hybrid());
  EXPECT_EQ(*v2.Dir("/pod1", "memory"), sys_ + "/pod1");
  EXPECT_EQ(*v2.Dir("/", "memory"), sys_);
  EXPECT_THAT(v2.Dirs("/pod1"), ElementsAre(sys_ + "/pod1"));
}

TEST_F(HierarchyTest, IgnoresMountsElsewhereAndHiddenOnes) {
  Write(proc_ + "/self/mountinfo",
        fmt::format("30 22 0:26 / /elsewhere rw - cgroup2 cgroup2 rw\n"
                    "31 22 0:26 / {0}x rw - cgroup2 cgroup2 rw\n"
                    "32 22 0:26 / {0}/with\\040space rw - cgroup cgroup rw,pids\n"
                    "33 22 0:26 / {0}/with\\040space rw - cgroup cgroup rw,pids,memory\n"
                    "34 22 0:26 / {0}/short\n",
                    sys_));
  const Hierarchy hierarchy = Detected();
  ASSERT_EQ(hierarchy.mounts().size(), 1u);
  EXPECT_EQ(hierarchy.mounts()[0].path, sys_ + "/with space");
  EXPECT_THAT(hierarchy.mounts()[0].controllers, ElementsAre("pids", "memory"));
}

TEST_F(HierarchyTest, NothingMounted) {
  Mounts({});
  EXPECT_EQ(Hierarchy::Detect(sys_, proc_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(HierarchyTest, CreateMakesEveryTreeAndFillsCpusets) {
  MountV1();
  Write(sys_ + "/cpuset/cpuset.cpus", "0-3\n");
  Write(sys_ + "/cpuset/cpuset.mems", "0\n");
  // The kernel would make these empty.
  for (const char* dir : {"/a", "/a/b"}) {
    Write(sys_ + "/cpuset" + dir + "/cpuset.cpus", "");
    Write(sys_ + "/cpuset" + dir + "/cpuset.mems", "");
  }
  const Hierarchy hierarchy = Detected();
  ASSERT_TRUE(hierarchy.Create("/a/b").ok());
  ASSERT_TRUE(hierarchy.Create("/a/b").ok());
  for (const std::string& dir : hierarchy.Dirs("/a/b")) {
    EXPECT_TRUE(std::filesystem::is_directory(dir)) << dir;
  }
  EXPECT_EQ(Read(sys_ + "/cpuset/a/b/cpuset.cpus"), "0-3");
  EXPECT_EQ(Read(sys_ + "/cpuset/a/cpuset.mems"), "0");
  EXPECT_EQ(hierarchy.OpenDir("/a/b").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(HierarchyTest, CreateEnablesControllersOnV2) {
  MountV2();
  Write(sys_ + "/cgroup.controllers", "cpu memory\n");
  Write(sys_ + "/cgroup.subtree_control", "cpu\n");
  Write(sys_ + "/a/cgroup.controllers", "memory\n");
  Write(sys_ + "/a/cgroup.subtree_control", "");
  const Hierarchy hierarchy = Detected();
  ASSERT_TRUE(hierarchy.Create("/a/b").ok());
  // A plain file keeps what was written over its beginning: only what was missing is asked for.
  EXPECT_EQ(Read(sys_ + "/cgroup.subtree_control"), "+memory");
  EXPECT_EQ(Read(sys_ + "/a/cgroup.subtree_control"), "+memory");
  EXPECT_TRUE(hierarchy.OpenDir("/a/b").ok());
  EXPECT_EQ(hierarchy.OpenDir("/a/c").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(HierarchyTest, CgroupsCannotLeaveTheTree) {
  MountV1();
  const Hierarchy hierarchy = Detected();
  for (const char* bad : {"", "a", "/../x", "/a/..", "/a/./b"}) {
    EXPECT_EQ(hierarchy.Create(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_EQ(hierarchy.Remove(ctx_, bad).code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_EQ(hierarchy.AddProcess(bad, 1).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(hierarchy.Remove(ctx_, "/").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(hierarchy.KillAll(ctx_, "/").code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(HierarchyTest, AddProcessWritesOnlyWhereItIsElsewhere) {
  MountV1();
  Write(proc_ + "/42/cgroup",
        "5:cpu,cpuacct:/a\n4:memory:/\n3:cpuset:/b\n2:name=systemd:/a\n0::/\n");
  for (const char* tree : {"/cpu,cpuacct", "/memory", "/cpuset", "/systemd", "/unified"}) {
    Write(sys_ + tree + "/a/cgroup.procs", "");
  }
  ASSERT_TRUE(Detected().AddProcess("/a", 42).ok());
  EXPECT_EQ(Read(sys_ + "/cpu,cpuacct/a/cgroup.procs"), "");
  EXPECT_EQ(Read(sys_ + "/memory/a/cgroup.procs"), "42");
  EXPECT_EQ(Read(sys_ + "/cpuset/a/cgroup.procs"), "42");
  EXPECT_EQ(Read(sys_ + "/systemd/a/cgroup.procs"), "");
  EXPECT_EQ(Read(sys_ + "/unified/a/cgroup.procs"), "42");
  EXPECT_EQ(Detected().AddProcess("/a", 43).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Detected().AddProcess("/absent", 42).code(), absl::StatusCode::kNotFound);
}

TEST_F(HierarchyTest, PidsOfAllTreesAndBelow) {
  MountV1();
  Write(sys_ + "/memory/a/cgroup.procs", "7\n3\n");
  Write(sys_ + "/memory/a/sub/cgroup.procs", "9\n0\n");
  Write(sys_ + "/cpuset/a/cgroup.procs", "7\n8\n");
  EXPECT_THAT(*Detected().Pids("/a"), ElementsAre(3, 7, 8, 9));
  EXPECT_THAT(*Detected().Pids("/absent"), IsEmpty());
}

TEST_F(HierarchyTest, RemoveIsDeepestFirstAndIdempotent) {
  MountV1();
  const Hierarchy hierarchy = Detected();
  ASSERT_TRUE(hierarchy.Create("/p/a/b/c").ok());
  ASSERT_TRUE(hierarchy.Remove(ctx_, "/p/a").ok());
  for (const std::string& dir : hierarchy.Dirs("/p/a")) {
    EXPECT_FALSE(std::filesystem::exists(dir)) << dir;
  }
  EXPECT_TRUE(std::filesystem::exists(sys_ + "/memory/p"));
  EXPECT_TRUE(hierarchy.Remove(ctx_, "/p/a").ok());
}

TEST_F(HierarchyTest, RemoveGivesUpInTime) {
  MountV2();
  // A directory that is not empty stands in for a cgroup with a process.
  Write(sys_ + "/a/file", "");
  const absl::Status status =
      Detected().Remove(base::OpContext::WithTimeout(absl::Seconds(30)), "/a");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("still in use"));
  EXPECT_EQ(Detected().Remove(base::OpContext::WithTimeout(absl::Milliseconds(20)), "/a").code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(HierarchyTest, ChoosesTheDriver) {
  FakeScopeBus bus;
  Write(proc_ + "/1/comm", "systemd\n");
  EXPECT_EQ(*ChooseDriver(ctx_, "auto", bus, proc_), Driver::kSystemd);
  EXPECT_EQ(*ChooseDriver(ctx_, "cgroupfs", bus, proc_), Driver::kCgroupfs);
  EXPECT_EQ(*ChooseDriver(ctx_, "systemd", bus, proc_), Driver::kSystemd);
  bus.ping = absl::UnavailableError("no bus");
  EXPECT_EQ(*ChooseDriver(ctx_, "auto", bus, proc_), Driver::kCgroupfs);
  EXPECT_EQ(ChooseDriver(ctx_, "systemd", bus, proc_).status().code(),
            absl::StatusCode::kUnavailable);
  bus.ping = absl::OkStatus();
  Write(proc_ + "/1/comm", "init\n");
  EXPECT_EQ(*ChooseDriver(ctx_, "auto", bus, proc_), Driver::kCgroupfs);
  EXPECT_EQ(ChooseDriver(ctx_, "systemd", bus, proc_).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(ChooseDriver(ctx_, "Systemd", bus, proc_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(HierarchyTest, PodOnCgroupfs) {
  FakeScopeBus bus;
  MountV2();
  Write(proc_ + "/42/cgroup", "0::/kubepods/pod1/berth-ab\n");
  const PodCgroups cgroups(Driver::kCgroupfs, Detected(), bus);
  EXPECT_EQ(cgroups.Prepare(ctx_, "kubepods.slice", "ab").status().code(),
            absl::StatusCode::kInvalidArgument);
  const absl::StatusOr<base::UniqueFd> fd = cgroups.Prepare(ctx_, "/kubepods/pod1", "ab");
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_TRUE(fd->valid());
  // Born there: nothing is written, so the absent control file does not matter.
  EXPECT_TRUE(cgroups.Place(ctx_, "/kubepods/pod1", "ab", 42).ok());
  EXPECT_TRUE(cgroups.Destroy(ctx_, "/kubepods/pod1", "ab").ok());
  EXPECT_FALSE(std::filesystem::exists(sys_ + "/kubepods/pod1/berth-ab"));
  EXPECT_TRUE(std::filesystem::exists(sys_ + "/kubepods/pod1"));
  EXPECT_TRUE(cgroups.Destroy(ctx_, "/kubepods/pod1", "ab").ok());
  EXPECT_THAT(bus.running, IsEmpty());
  EXPECT_THAT(bus.stopped, IsEmpty());
}

TEST_F(HierarchyTest, PodOnSystemd) {
  FakeScopeBus bus;
  MountV2();
  const PodCgroups cgroups(Driver::kSystemd, Detected(), bus);
  EXPECT_EQ(cgroups.Prepare(ctx_, "/kubepods", "ab").status().code(),
            absl::StatusCode::kInvalidArgument);
  const absl::StatusOr<base::UniqueFd> fd = cgroups.Prepare(ctx_, "kubepods-pod1.slice", "ab");
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_FALSE(fd->valid());
  ASSERT_TRUE(cgroups.Place(ctx_, "kubepods-pod1.slice", "ab", 42).ok());
  ASSERT_EQ(bus.running.count("berth-ab.scope"), 1u);
  EXPECT_EQ(bus.running["berth-ab.scope"].first, "kubepods-pod1.slice");
  EXPECT_EQ(bus.running["berth-ab.scope"].second, 42);
  ASSERT_TRUE(cgroups.Destroy(ctx_, "kubepods-pod1.slice", "ab").ok());
  EXPECT_THAT(bus.stopped, ElementsAre("berth-ab.scope"));
  ASSERT_TRUE(cgroups.Place(ctx_, "", "cd", 43).ok());
  EXPECT_EQ(bus.running["berth-cd.scope"].first, "system.slice");
  ASSERT_TRUE(cgroups.Place(ctx_, "/kubepods.slice/kubepods-pod1.slice", "ef", 44).ok());
  EXPECT_EQ(bus.running["berth-ef.scope"].first, "kubepods-pod1.slice");
}

}  // namespace
}  // namespace berth::cgroup
