// Needs root: mounts in a mount namespace of its own, so nothing can be left behind.
#include "lib/mount/syscall_mounter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/mount/testing/mapped_ids.h"

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

TEST_F(SyscallMounterTest, ROOT_MapsIds) {
  const base::UniqueFd user = MapIds();
  const std::string source = Dir("source");
  const std::string target = Dir("target");
  ASSERT_TRUE(base::WriteFile(source + "/roots", "x", 0644).ok());
  ASSERT_TRUE(base::WriteFile(source + "/others", "x", 0644).ok());
  ASSERT_EQ(::chown((source + "/others").c_str(), 7, 8), 0);
  IdMappedMount request = {
      .source = source, .target = target, .user_namespace_fd = user.get(), .read_only = true};
  const absl::Status status = mounter_.MountIdMapped(request);
  if (absl::IsUnimplemented(status)) {
    GTEST_SKIP() << "the file system of /tmp has no id-mapped mounts: " << status;
  }
  ASSERT_TRUE(status.ok()) << status;
  struct stat st;
  ASSERT_EQ(::stat((target + "/roots").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, kMappedRoot);
  ASSERT_EQ(::stat((target + "/others").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, kMappedRoot + 7);
  EXPECT_EQ(st.st_gid, kMappedRoot + 8);
  EXPECT_EQ(::chown((target + "/roots").c_str(), kMappedRoot + 1, kMappedRoot), -1);
  EXPECT_EQ(errno, EROFS);
  ASSERT_TRUE(mounter_.Unmount(target, false).ok());

  request.read_only = false;
  ASSERT_TRUE(mounter_.MountIdMapped(request).ok());
  ASSERT_EQ(::chown((target + "/roots").c_str(), kMappedRoot + 1, kMappedRoot), 0);
  ASSERT_EQ(::stat((source + "/roots").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 1u);
  ASSERT_TRUE(mounter_.Unmount(target, false).ok());

  request.source = "/proc/sys";
  const absl::Status refused = mounter_.MountIdMapped(request);
  EXPECT_TRUE(absl::IsUnimplemented(refused)) << refused;
  EXPECT_FALSE(*mounter_.IsMountPoint(target));
}

// Unmounting the copy must not unmount what the source has beneath it.
TEST_F(SyscallMounterTest, ROOT_AMappedCopyIsNoPeer) {
  const base::UniqueFd user = MapIds();
  const std::string source = Dir("source");
  const std::string target = Dir("target");
  ASSERT_EQ(::mount(source.c_str(), source.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(::mount(nullptr, source.c_str(), nullptr, MS_SHARED, nullptr), 0);
  Dir("source/beneath");
  Dir("source/later");
  const std::string other = Dir("other");
  ASSERT_TRUE(base::WriteFile(other + "/f", "x", 0644).ok());
  const auto bind = [&](const std::string& at) {
    return ::mount(other.c_str(), at.c_str(), nullptr, MS_BIND, nullptr);
  };
  ASSERT_EQ(bind(source + "/beneath"), 0);
  for (const bool is_slave : {false, true}) {
    const absl::Status status = mounter_.MountIdMapped({.source = source,
                                                        .target = target,
                                                        .user_namespace_fd = user.get(),
                                                        .recursive = true,
                                                        .is_slave = is_slave});
    if (absl::IsUnimplemented(status)) {
      GTEST_SKIP() << "the file system of /tmp has no id-mapped mounts: " << status;
    }
    ASSERT_TRUE(status.ok()) << status;
    struct stat st;
    ASSERT_EQ(::stat((target + "/beneath/f").c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, kMappedRoot);
    ASSERT_EQ(bind(source + "/later"), 0);
    EXPECT_EQ(base::PathExists(target + "/later/f"), is_slave);
    ASSERT_TRUE(mounter_.Unmount(target, true).ok());
    EXPECT_FALSE(*mounter_.IsMountPoint(target));
    EXPECT_TRUE(base::PathExists(source + "/beneath/f"));
    ASSERT_TRUE(mounter_.Unmount(source + "/later", false).ok());
  }
}

TEST_F(SyscallMounterTest, ROOT_PrivateMountsEndWithTheirWork) {
  const std::string target = Dir("target");
  const absl::Status status = RunInPrivateMounts([&]() -> absl::Status {
    RETURN_IF_ERROR(mounter_.Mount({.source = "tmpfs", .target = target, .fstype = "tmpfs"}));
    return base::WriteFile(target + "/f", "x", 0644);
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(*mounter_.IsMountPoint(target));
  EXPECT_TRUE(absl::IsAborted(RunInPrivateMounts([] { return absl::AbortedError("x"); })));
}

}  // namespace
}  // namespace berth::mount
