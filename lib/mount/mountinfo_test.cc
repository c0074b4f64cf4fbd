#include <gtest/gtest.h>

#include "lib/mount/syscall_mounter.h"
#include "lib/mount/testing/fake_mounter.h"

namespace berth::mount {
namespace {

TEST(ParseMountInfo, ReadsEveryFieldBerthUses) {
  const auto entries = ParseMountInfo(
      "22 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n"
      "30 22 0:26 / /run rw - tmpfs tmpfs rw,size=1024k\n");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].mount_point, "/");
  EXPECT_EQ((*entries)[0].fstype, "ext4");
  EXPECT_EQ((*entries)[0].source, "/dev/vda");
  EXPECT_EQ((*entries)[0].super_options, "rw,discard");
  EXPECT_EQ((*entries)[0].optional_fields, (std::vector<std::string>{"shared:1", "master:2"}));
  EXPECT_TRUE((*entries)[1].optional_fields.empty());
}

TEST(ParseMountInfo, UndoesOctalEscapes) {
  const auto entries = ParseMountInfo("30 22 0:26 / /a\\040b\\011c\\134d rw - tmpfs t\\040s rw\n");
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ((*entries)[0].mount_point, "/a b\tc\\d");
  EXPECT_EQ((*entries)[0].source, "t s");
}

TEST(ParseMountInfo, RefusesOtherLines) {
  for (const char* text : {"nonsense\n", "22 1 8:1 / / rw,relatime shared:1 ext4 /dev/vda rw\n",
                           "1 2 3 4 5 6 - a b\n"}) {
    EXPECT_EQ(ParseMountInfo(text).status().code(), absl::StatusCode::kDataLoss) << text;
  }
}

TEST(FakeMounter, KeepsATable) {
  FakeMounter fake;
  ASSERT_TRUE(fake.Mount({.source = "a", .target = "/x", .fstype = "tmpfs"}).ok());
  ASSERT_TRUE(fake.Mount({.source = "b", .target = "/x/y", .fstype = "tmpfs"}).ok());
  EXPECT_EQ(*fake.MountsUnder("/x"), (std::vector<std::string>{"/x/y", "/x"}));
  EXPECT_TRUE(*fake.IsMountPoint("/x/y"));
  ASSERT_TRUE(fake.Unmount("/x/y", false).ok());
  EXPECT_FALSE(*fake.IsMountPoint("/x/y"));
  ASSERT_TRUE(fake.Unmount("/x/y", false).ok());
}

}  // namespace
}  // namespace berth::mount
