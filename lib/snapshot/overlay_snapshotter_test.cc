// What needs no mounts. The rest is in overlay_mount_test.cc.
#include "lib/snapshot/overlay_snapshotter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/mount/testing/fake_mounter.h"

namespace berth::snapshot {
namespace {

class OverlaySnapshotterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-snapshot-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    ASSERT_TRUE(snapshotter().Prepare().ok());
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }
  OverlaySnapshotter snapshotter() { return OverlaySnapshotter(dir_ + "/layers", mounter_); }
  std::vector<std::string> Layers() { return *base::ListDir(dir_ + "/layers"); }
  void MakeLayer(LayerNumber number) {
    ASSERT_TRUE(base::MakeDirs(dir_ + "/layers/" + std::to_string(number), 0755).ok());
  }

  mount::FakeMounter mounter_;
  std::string dir_;
};

TEST_F(OverlaySnapshotterTest, PrepareTwiceIsFine) {
  EXPECT_TRUE(snapshotter().Prepare().ok());
  EXPECT_EQ(Layers(), std::vector<std::string>{"0"});
}

TEST_F(OverlaySnapshotterTest, Ext4SpreadsTheLayers) {
  struct statfs fs;
  ASSERT_EQ(::statfs(dir_.c_str(), &fs), 0);
  if (fs.f_type != EXT4_SUPER_MAGIC) {
    GTEST_SKIP() << "needs /tmp on ext4";
  }
  const auto fd = base::OpenFile(dir_ + "/layers", O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(fd.ok());
  int flags = 0;
  ASSERT_EQ(::ioctl(fd->get(), FS_IOC_GETFLAGS, &flags), 0);
  EXPECT_NE(flags & FS_TOPDIR_FL, 0);
}

TEST_F(OverlaySnapshotterTest, WhatTheDatabaseDoesNotKnowIsAStray) {
  for (const LayerNumber number : {1, 2, 30}) {
    MakeLayer(number);
  }
  ASSERT_TRUE(base::MakeDirs(dir_ + "/layers/removing-7/x").ok());
  ASSERT_TRUE(base::MakeDirs(dir_ + "/layers/007").ok());
  std::vector<std::string> strays;
  for (const char* name : {"007", "1", "30", "removing-7"}) {
    strays.push_back(dir_ + "/layers/" + name);
  }
  EXPECT_EQ(*snapshotter().StrayLayers({2, 99}), strays);
}

TEST_F(OverlaySnapshotterTest, ANewLayerIsEmptyWhateverWasThere) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "needs root: a layer is root's";
  }
  ASSERT_TRUE(base::MakeDirs(dir_ + "/layers/1/half/made").ok());
  ASSERT_TRUE(snapshotter().NewLayerDir(1).ok());
  EXPECT_TRUE(base::ListDir(dir_ + "/layers/1")->empty());
}

TEST_F(OverlaySnapshotterTest, MountOptions) {
  MakeLayer(7);
  MakeLayer(12);
  const std::string c = dir_ + "/c,1";
  ASSERT_TRUE(snapshotter()
                  .MountRootfs(base::OpContext::Background(), {.layers = {12, 7},
                                                               .upper = c + "/upper",
                                                               .work = c + "/work",
                                                               .target = dir_ + "/m",
                                                               .is_volatile = true,
                                                               .option = "context=\"l:c1,c2\""})
                  .ok());
  const mount::MountRequest request = mounter_.requests().at(0);
  EXPECT_EQ(request.working_directory, dir_ + "/layers");
  EXPECT_EQ(
      request.options,
      "lowerdir=12:7,upperdir=" + dir_ + "/c\\,1/upper,workdir=" + dir_ +
          "/c\\,1/work,index=off,metacopy=off,redirect_dir=nofollow,volatile,context=\"l:c1,c2\"");
  EXPECT_EQ(request.flags, 0u);
}

TEST_F(OverlaySnapshotterTest, TheWritableRootLooksLikeTheTopLayers) {
  MakeLayer(1);
  ASSERT_EQ(::chmod((dir_ + "/layers/1").c_str(), 01711), 0);
  ASSERT_TRUE(
      snapshotter()
          .MountRootfs(
              base::OpContext::Background(),
              {.layers = {1}, .upper = dir_ + "/u", .work = dir_ + "/w", .target = dir_ + "/m"})
          .ok());
  struct stat st;
  ASSERT_EQ(::stat((dir_ + "/u").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 01711u);
}

TEST_F(OverlaySnapshotterTest, AMissingLayerIsNamed) {
  const absl::Status status = snapshotter().MountRootfs(base::OpContext::Background(),
                                                        {.layers = {5}, .target = dir_ + "/m"});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(status.message()).find("/layers/5'"), std::string::npos) << status;
  EXPECT_TRUE(mounter_.requests().empty());
}

TEST_F(OverlaySnapshotterTest, UnmountOfNothingIsFine) {
  EXPECT_TRUE(snapshotter().UnmountRootfs(dir_ + "/absent").ok());
}

TEST_F(OverlaySnapshotterTest, MeasureTreeCountsAFileWithTwoNamesOnce) {
  const std::string root = dir_ + "/tree";
  ASSERT_TRUE(base::MakeDirs(root + "/a/b").ok());
  const auto empty = OverlaySnapshotter::MeasureTree(base::OpContext::Background(), root);
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->inodes, 3u);
  ASSERT_TRUE(base::WriteFile(root + "/a/f", std::string(100'000, 'x'), 0644).ok());
  ASSERT_EQ(::link((root + "/a/f").c_str(), (root + "/a/b/g").c_str()), 0);
  ASSERT_EQ(::symlink("/proc", (root + "/proc").c_str()), 0);
  const auto full = OverlaySnapshotter::MeasureTree(base::OpContext::Background(), root);
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(full->inodes, 5u);
  EXPECT_GE(full->bytes, empty->bytes + 100'000);
  EXPECT_LT(full->bytes, empty->bytes + 120'000);
}

TEST_F(OverlaySnapshotterTest, MeasureTreeEndsWithItsContext) {
  const base::OpContext late(absl::InfinitePast());
  EXPECT_EQ(OverlaySnapshotter::MeasureTree(late, dir_).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(OverlaySnapshotterTest, MeasureTreeEndsWithItsContextInTheMiddleOfADirectory) {
  const std::string root = dir_ + "/tree";
  ASSERT_TRUE(base::MakeDirs(root).ok());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(base::WriteFile(root + "/" + std::to_string(i), "", 0644).ok());
  }
  int looks = 0;
  const base::OpContext leaves(absl::InfiniteFuture(), [&looks] { return ++looks > 2; });
  EXPECT_EQ(OverlaySnapshotter::MeasureTree(leaves, root).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace berth::snapshot
