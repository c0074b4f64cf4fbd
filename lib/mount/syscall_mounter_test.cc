// Needs root: mounts in a mount namespace of its own, so nothing can be left behind.
#include "lib/mount/syscall_mounter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <climits>

#include "lib/base/file.h"
#include "lib/base/unique_fd.h"

namespace berth::mount {
namespace {

class SyscallMounterTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() == 0) {
      ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
      ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    }
  }
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "needs root to mount";
    }
    char name[] = "/tmp/berth-mount-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    if (dir_.empty()) {
      return;
    }
    const auto mounts = mounter_.MountsUnder(dir_);
    ASSERT_TRUE(mounts.ok());
    for (const std::string& path : *mounts) {
      EXPECT_TRUE(mounter_.Unmount(path, true).ok());
    }
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }
  std::string Dir(const std::string& name) {
    EXPECT_TRUE(base::MakeDirs(dir_ + "/" + name).ok());
    return dir_ + "/" + name;
  }

  SyscallMounter mounter_;
  std::string dir_;
};

TEST_F(SyscallMounterTest, ROOT_MountsAndUnmounts) {
  const std::string target = Dir("a b");
  EXPECT_FALSE(*mounter_.IsMountPoint(target));
  ASSERT_TRUE(
      mounter_
          .Mount({.source = "tmpfs", .target = target, .fstype = "tmpfs", .options = "size=64k"})
          .ok());
  EXPECT_TRUE(*mounter_.IsMountPoint(target));
  EXPECT_EQ(*mounter_.MountsUnder(dir_), std::vector<std::string>{target});
  ASSERT_TRUE(mounter_.Unmount(target, false).ok());
  EXPECT_FALSE(*mounter_.IsMountPoint(target));
}

TEST_F(SyscallMounterTest, ROOT_UnmountIsIdempotent) {
  const std::string target = Dir("plain");
  EXPECT_TRUE(mounter_.Unmount(target, false).ok());
  EXPECT_TRUE(mounter_.Unmount(dir_ + "/absent", false).ok());
}

TEST_F(SyscallMounterTest, ROOT_UnmountDoesNotFollowSymlinks) {
  const std::string target = Dir("real");
  ASSERT_TRUE(mounter_.Mount({.source = "tmpfs", .target = target, .fstype = "tmpfs"}).ok());
  ASSERT_EQ(::symlink(target.c_str(), (dir_ + "/link").c_str()), 0);
  EXPECT_TRUE(mounter_.Unmount(dir_ + "/link", true).ok());
  EXPECT_TRUE(*mounter_.IsMountPoint(target));
}

TEST_F(SyscallMounterTest, ROOT_BusyMountNeedsDetach) {
  const std::string target = Dir("busy");
  ASSERT_TRUE(mounter_.Mount({.source = "tmpfs", .target = target, .fstype = "tmpfs"}).ok());
  base::UniqueFd hold(::open(target.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const absl::Status busy = mounter_.Unmount(target, false);
  EXPECT_EQ(busy.code(), absl::StatusCode::kFailedPrecondition) << busy;
  EXPECT_TRUE(mounter_.Unmount(target, true).ok());
  EXPECT_FALSE(*mounter_.IsMountPoint(target));
}

TEST_F(SyscallMounterTest, ROOT_MountsUnderListsDeepestFirstAndStackedTwice) {
  const std::string outer = Dir("outer");
  ASSERT_TRUE(mounter_.Mount({.source = "tmpfs", .target = outer, .fstype = "tmpfs"}).ok());
  const std::string inner = Dir("outer/inner");
  ASSERT_TRUE(mounter_.Mount({.source = "tmpfs", .target = inner, .fstype = "tmpfs"}).ok());
  ASSERT_TRUE(mounter_.Mount({.source = "tmpfs", .target = inner, .fstype = "tmpfs"}).ok());
  Dir("outer2");
  EXPECT_EQ(*mounter_.MountsUnder(outer), (std::vector<std::string>{inner, inner, outer}));
}

TEST_F(SyscallMounterTest, ROOT_RelativeNamesAreBeneathTheWorkingDirectory) {
  ASSERT_TRUE(base::WriteFile(Dir("layers/1") + "/one", "1", 0644).ok());
  ASSERT_TRUE(base::WriteFile(Dir("layers/2") + "/two", "2", 0644).ok());
  const std::string target = Dir("merged");
  char before[PATH_MAX];
  ASSERT_NE(::getcwd(before, sizeof(before)), nullptr);
  const absl::Status mounted = mounter_.Mount({.source = "overlay",
                                               .target = target,
                                               .fstype = "overlay",
                                               .flags = MS_RDONLY,
                                               .options = "lowerdir=2:1",
                                               .working_directory = dir_ + "/layers"});
  ASSERT_TRUE(mounted.ok()) << mounted;
  EXPECT_EQ(*base::ListDir(target), (std::vector<std::string>{"one", "two"}));
  char after[PATH_MAX];
  ASSERT_NE(::getcwd(after, sizeof(after)), nullptr);
  EXPECT_STREQ(before, after);
}

TEST_F(SyscallMounterTest, ROOT_ErrorsNameTheTarget) {
  const absl::Status absent =
      mounter_.Mount({.source = "tmpfs", .target = dir_ + "/absent", .fstype = "tmpfs"});
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(absent.message()).find("/absent"), std::string::npos);
  const absl::Status longer = mounter_.Mount({.source = "tmpfs",
                                              .target = dir_,
                                              .fstype = "tmpfs",
                                              .options = std::string(kMaxOptionBytes + 1, 'x')});
  EXPECT_EQ(longer.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(mounter_.IsMountPoint(dir_ + "/absent").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace berth::mount
