#include "lib/cgroup/cgroup_path.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::cgroup {
namespace {

using ::testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(CgroupPath, Cgroupfs) {
  EXPECT_EQ(*SpecCgroupsPath(Driver::kCgroupfs, "/kubepods/pod1", "ab"), "/kubepods/pod1/berth-ab");
  EXPECT_EQ(*CgroupOf(Driver::kCgroupfs, "/kubepods/pod1", "ab"), "/kubepods/pod1/berth-ab");
  EXPECT_EQ(*ParentCgroup(Driver::kCgroupfs, "/kubepods/pod1"), "/kubepods/pod1");
  EXPECT_EQ(*CgroupOf(Driver::kCgroupfs, "", "ab"), "/berth/berth-ab");
  EXPECT_EQ(*CgroupOf(Driver::kCgroupfs, "/", "ab"), "/berth-ab");
}

TEST(CgroupPath, Systemd) {
  EXPECT_EQ(*SpecCgroupsPath(Driver::kSystemd, "kubepods-pod1.slice", "ab"),
            "kubepods-pod1.slice:berth:ab");
  EXPECT_EQ(*CgroupOf(Driver::kSystemd, "kubepods-pod1.slice", "ab"),
            "/kubepods.slice/kubepods-pod1.slice/berth-ab.scope");
  EXPECT_EQ(*SpecCgroupsPath(Driver::kSystemd, "", "ab"), "system.slice:berth:ab");
  EXPECT_EQ(*CgroupOf(Driver::kSystemd, "", "ab"), "/system.slice/berth-ab.scope");
  EXPECT_EQ(*CgroupOf(Driver::kSystemd, "-.slice", "ab"), "/berth-ab.scope");
}

// Kubelets send where the slice is, not its name alone.
TEST(CgroupPath, SystemdParentsAsPaths) {
  const std::string path =
      "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice";
  EXPECT_EQ(*SpecCgroupsPath(Driver::kSystemd, path, "ab"),
            "kubepods-besteffort-pod1.slice:berth:ab");
  EXPECT_EQ(*CgroupOf(Driver::kSystemd, path, "ab"), path + "/berth-ab.scope");
  EXPECT_EQ(*ParentCgroup(Driver::kSystemd, path), path);
  EXPECT_EQ(*ParentCgroup(Driver::kSystemd, "/test.slice"), "/test.slice");
  const absl::Status elsewhere = ValidateParent(Driver::kSystemd, "/a.slice/b.slice");
  EXPECT_EQ(elsewhere.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(elsewhere), HasSubstr("has the slice 'b.slice' at '/b.slice'"));
  for (const char* bad :
       {"/a.slice/", "a/b.slice", "/../a.slice", "//a.slice", "/a-b.slice", "/"}) {
    EXPECT_EQ(ValidateParent(Driver::kSystemd, bad).code(), absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST(CgroupPath, SlicesNest) {
  EXPECT_EQ(*ExpandSlice("a.slice"), "/a.slice");
  EXPECT_EQ(*ExpandSlice("a-b-c.slice"), "/a.slice/a-b.slice/a-b-c.slice");
  EXPECT_EQ(*ExpandSlice("kubepods-burstable-pod1_2.slice"),
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice");
  EXPECT_EQ(*ExpandSlice("-.slice"), "/");
  for (const char* bad : {"", ".slice", "a", "a.slice.", "-a.slice", "a-.slice", "a--b.slice",
                          "a/b.slice", "../a.slice", "a b.slice", "a;b.slice", "a\nb.slice"}) {
    EXPECT_EQ(ExpandSlice(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_FALSE(ExpandSlice(std::string(256, 'a') + ".slice").ok());
}

TEST(CgroupPath, TheOtherDriversStyleIsNamed) {
  const absl::Status systemd = ValidateParent(Driver::kSystemd, "/kubepods/pod1");
  EXPECT_EQ(systemd.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(systemd), HasSubstr("driver is systemd"));
  EXPECT_THAT(Message(systemd), HasSubstr("'/kubepods/pod1'"));
  const absl::Status cgroupfs = ValidateParent(Driver::kCgroupfs, "kubepods-pod1.slice");
  EXPECT_EQ(cgroupfs.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(cgroupfs), HasSubstr("driver is cgroupfs"));
  EXPECT_EQ(SpecCgroupsPath(Driver::kSystemd, "/kubepods", "ab").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CgroupOf(Driver::kCgroupfs, "/a.slice", "ab").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CgroupPath, ParentsCannotLeave) {
  for (const char* bad : {"kubepods", "/a/../b", "/..", "/a//b", "/a/", "/a/./b", "/a b", "/a\n"}) {
    EXPECT_EQ(ValidateParent(Driver::kCgroupfs, bad).code(), absl::StatusCode::kInvalidArgument)
        << bad;
  }
  EXPECT_FALSE(ValidateParent(Driver::kCgroupfs, "/" + std::string(2000, 'a')).ok());
  EXPECT_TRUE(ValidateParent(Driver::kCgroupfs, "").ok());
  EXPECT_TRUE(ValidateParent(Driver::kSystemd, "").ok());
}

TEST(CgroupPath, MemoryMinimum) {
  EXPECT_EQ(MemoryLimitMinimum("runc"), 12 * 1024 * 1024);
  EXPECT_EQ(MemoryLimitMinimum("crun"), 500 * 1024);
  EXPECT_EQ(MemoryLimitMinimum("other"), 12 * 1024 * 1024);
}

}  // namespace
}  // namespace berth::cgroup
