// Real overlay mounts, in a mount namespace of the test's own. Needs root.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/mount/syscall_mounter.h"
#include "lib/mount/testing/mapped_ids.h"
#include "lib/snapshot/overlay_snapshotter.h"

namespace berth::snapshot {
namespace {

class OverlayMountTest : public ::testing::Test {
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
    char name[] = "/tmp/berth-overlay-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    // A file system of its own: where /tmp is an overlay, nothing can be stacked on it.
    ASSERT_EQ(::mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=64m"), 0);
    snapshotter_ = std::make_unique<OverlaySnapshotter>(dir_ + "/layers", mounter_);
    ASSERT_TRUE(snapshotter_->Prepare().ok());
    target_ = dir_ + "/state/rootfs";
  }
  void TearDown() override {
    if (!dir_.empty()) {
      const auto mounts = mounter_.MountsUnder(dir_);
      ASSERT_TRUE(mounts.ok());
      for (const std::string& path : *mounts) {
        EXPECT_TRUE(mounter_.Unmount(path, false).ok()) << path;
      }
      EXPECT_TRUE(base::RemoveTree(dir_).ok());
    }
  }
  std::string Layer(LayerNumber number) {
    EXPECT_TRUE(snapshotter_->NewLayerDir(number).ok());
    return snapshotter_->LayerPath(number);
  }
  static void File(const std::string& path, const std::string& content) {
    EXPECT_TRUE(base::MakeDirs(path.substr(0, path.rfind('/')), 0755).ok());
    EXPECT_TRUE(base::WriteFile(path, content, 0644).ok());
  }
  absl::Status Mount(const std::vector<LayerNumber>& layers, bool read_only = false,
                     bool is_volatile = false) {
    return snapshotter_->MountRootfs(base::OpContext::Background(), {.layers = layers,
                                                                     .upper = dir_ + "/c/upper",
                                                                     .work = dir_ + "/c/work",
                                                                     .target = target_,
                                                                     .read_only = read_only,
                                                                     .is_volatile = is_volatile});
  }
  absl::Status MountReadOnly(const std::vector<LayerNumber>& layers) {
    return snapshotter_->MountRootfs(base::OpContext::Background(),
                                     {.layers = layers, .target = target_});
  }
  std::string Content(const std::string& path) {
    const auto content = base::ReadFile(target_ + "/" + path, 4096);
    return content.ok() ? *content : "<none>";
  }

  mount::SyscallMounter mounter_;
  std::unique_ptr<OverlaySnapshotter> snapshotter_;
  std::string dir_;
  std::string target_;
};

TEST_F(OverlayMountTest, ROOT_LayersWhiteoutsAndOpaqueDirectories) {
  const std::string base_layer = Layer(1);
  File(base_layer + "/etc/gone", "1");
  File(base_layer + "/etc/both", "lower");
  File(base_layer + "/opt/hidden", "1");
  const std::string top = Layer(2);
  File(top + "/etc/both", "upper");
  ASSERT_EQ(::mknod((top + "/etc/gone").c_str(), S_IFCHR, makedev(0, 0)), 0);
  File(top + "/opt/seen", "2");
  ASSERT_EQ(::setxattr((top + "/opt").c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
  ASSERT_TRUE(Mount({2, 1}).ok());
  EXPECT_EQ(Content("etc/gone"), "<none>");
  EXPECT_EQ(Content("etc/both"), "upper");
  EXPECT_EQ(Content("opt/hidden"), "<none>");
  EXPECT_EQ(Content("opt/seen"), "2");

  File(target_ + "/etc/new", "written");
  EXPECT_EQ(*base::ReadFile(dir_ + "/c/upper/etc/new", 100), "written");
  const auto usage =
      OverlaySnapshotter::MeasureTree(base::OpContext::Background(), dir_ + "/c/upper");
  ASSERT_TRUE(usage.ok());
  EXPECT_EQ(usage->inodes, 3u);

  ASSERT_TRUE(snapshotter_->UnmountRootfs(target_).ok());
  ASSERT_TRUE(snapshotter_->UnmountRootfs(target_).ok());
  EXPECT_TRUE(base::ListDir(target_)->empty());
}

TEST_F(OverlayMountTest, ROOT_TwoHundredLayers) {
  std::vector<LayerNumber> layers;
  for (LayerNumber number = 1000001; number <= 1000200; ++number) {
    const std::string layer = Layer(number);
    File(fmt::format("{}/f{}", layer, number), "x");
    File(layer + "/top", std::to_string(number));
    layers.insert(layers.begin(), number);
  }
  const absl::Status status = Mount(layers);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Content("top"), "1000200");
  EXPECT_EQ(base::ListDir(target_)->size(), 201u);
}

TEST_F(OverlayMountTest, ROOT_TheSameLayerTwice) {
  File(Layer(1) + "/f", "1");
  File(Layer(2) + "/f", "2");
  const absl::Status status = Mount({1, 2, 1});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Content("f"), "1");
}

TEST_F(OverlayMountTest, ROOT_TooManyLayersAreAnError) {
  std::vector<LayerNumber> layers;
  for (LayerNumber number = 1; number <= 501; ++number) {
    Layer(number * 1000000);
    layers.push_back(number * 1000000);
  }
  const absl::Status status = Mount(layers);
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
}

TEST_F(OverlayMountTest, ROOT_NoLayersAtAll) {
  ASSERT_TRUE(Mount({}).ok());
  EXPECT_TRUE(base::ListDir(target_)->empty());
  File(target_ + "/f", "x");
  EXPECT_TRUE(base::ListDir(dir_ + "/layers/0")->empty())
      << "the shared empty layer was written to";
  struct stat st;
  ASSERT_EQ(::stat(target_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u);
}

TEST_F(OverlayMountTest, ROOT_WithoutAWritableLayerNothingCanBeWritten) {
  File(Layer(1) + "/f", "1");
  File(Layer(2) + "/g", "2");
  for (const std::vector<LayerNumber>& layers : {std::vector<LayerNumber>{}, {1}, {2, 1}}) {
    const absl::Status status = MountReadOnly(layers);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(base::ListDir(target_)->size(), layers.size());
    EXPECT_EQ(::open((target_ + "/new").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644), -1);
    EXPECT_EQ(errno, EROFS);
    ASSERT_TRUE(snapshotter_->UnmountRootfs(target_).ok());
  }
}

TEST_F(OverlayMountTest, ROOT_AVolumeIsForReadingOnly) {
  File(Layer(1) + "/f", "1");
  File(Layer(2) + "/g", "2");
  for (const std::vector<LayerNumber>& layers : {std::vector<LayerNumber>{}, {1}, {2, 1}}) {
    const absl::Status status = snapshotter_->MountVolume(base::OpContext::Background(),
                                                          {.layers = layers, .target = target_});
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(base::ListDir(target_)->size(), layers.size());
    struct statfs fs;
    ASSERT_EQ(::statfs(target_.c_str(), &fs), 0);
    constexpr long kWanted = ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC;
    EXPECT_EQ(fs.f_flags & kWanted, kWanted) << layers.size() << " layers";
    ASSERT_TRUE(snapshotter_->UnmountVolume(target_).ok());
    ASSERT_TRUE(snapshotter_->UnmountVolume(target_).ok());
    EXPECT_TRUE(base::ListDir(target_)->empty());
  }
  EXPECT_TRUE(absl::IsNotFound(snapshotter_->MountVolume(base::OpContext::Background(),
                                                         {.layers = {7}, .target = target_})));
}

TEST_F(OverlayMountTest, ROOT_AViewOfTheLayersWithMappedIds) {
  File(Layer(1) + "/f", "1");
  File(Layer(2) + "/g", "2");
  ASSERT_EQ(::chown((snapshotter_->LayerPath(1) + "/f").c_str(), 7, 8), 0);
  const std::string view = dir_ + "/view";
  ASSERT_TRUE(base::MakeDirs(view).ok());
  const base::UniqueFd user = mount::MapIds();
  const absl::Status mapped = mounter_.MountIdMapped({.source = dir_ + "/layers",
                                                      .target = view,
                                                      .user_namespace_fd = user.get(),
                                                      .read_only = true});
  if (absl::IsUnimplemented(mapped)) {
    GTEST_SKIP() << "tmpfs has no id-mapped mounts before Linux 6.3: " << mapped;
  }
  ASSERT_TRUE(mapped.ok()) << mapped;
  const auto owner = [](const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
    return std::pair(st.st_uid, st.st_gid);
  };
  constexpr uid_t kRoot = mount::kMappedRoot;
  for (const std::vector<LayerNumber>& layers : {std::vector<LayerNumber>{}, {1}, {2, 1}}) {
    RootfsSpec spec = {.layers = layers,
                       .layers_view = view,
                       .upper = fmt::format("{}/c{}/upper", dir_, layers.size()),
                       .work = fmt::format("{}/c{}/work", dir_, layers.size()),
                       .target = target_};
    const absl::Status status = snapshotter_->MountRootfs(base::OpContext::Background(), spec);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(owner(spec.upper), std::pair(kRoot, kRoot));
    EXPECT_EQ(owner(target_), std::pair(kRoot, kRoot));
    if (!layers.empty()) {
      EXPECT_EQ(owner(target_ + "/f"), std::pair(kRoot + 7, kRoot + 8));
      ASSERT_EQ(::chmod((target_ + "/f").c_str(), 0600), 0);
      EXPECT_EQ(owner(spec.upper + "/f"), std::pair(kRoot + 7, kRoot + 8));
      EXPECT_EQ(owner(snapshotter_->LayerPath(1) + "/f"), std::pair(7u, 8u));
    }
    ASSERT_TRUE(snapshotter_->UnmountRootfs(target_).ok());
    // The same to read only.
    spec.upper.clear();
    ASSERT_TRUE(snapshotter_->MountVolume(base::OpContext::Background(), spec).ok());
    EXPECT_EQ(owner(target_), std::pair(kRoot, kRoot));
    ASSERT_TRUE(snapshotter_->UnmountVolume(target_).ok());
  }
  // What an overlay stands on is its own: the view may go before it.
  ASSERT_TRUE(Mount({1}).ok());
  ASSERT_TRUE(mounter_.Unmount(view, false).ok());
  EXPECT_EQ(Content("f"), "1");
}

TEST_F(OverlayMountTest, ROOT_ReadOnlyWithAWritableLayer) {
  File(Layer(1) + "/f", "1");
  ASSERT_TRUE(Mount({1}, true).ok());
  EXPECT_EQ(::open((target_ + "/new").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644), -1);
}

TEST_F(OverlayMountTest, ROOT_VolatileIsPassedToOverlayfs) {
  File(Layer(1) + "/f", "1");
  const absl::Status status = Mount({1}, false, true);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(base::PathExists(dir_ + "/c/work/work/incompat/volatile"));
}

TEST_F(OverlayMountTest, ROOT_AnOpaqueLayerRootHidesAllBelow) {
  File(Layer(1) + "/old", "1");
  const std::string middle = Layer(2);
  File(middle + "/mid", "2");
  ASSERT_EQ(::setxattr(middle.c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
  File(Layer(3) + "/new", "3");
  ASSERT_TRUE(Mount({3, 2, 1}).ok());
  EXPECT_EQ(*base::ListDir(target_), (std::vector<std::string>{"mid", "new"}));
}

TEST_F(OverlayMountTest, ROOT_BusyRootIsDetached) {
  File(Layer(1) + "/f", "1");
  ASSERT_TRUE(Mount({1}).ok());
  base::UniqueFd hold(::open((target_ + "/f").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(snapshotter_->UnmountRootfs(target_).ok());
  EXPECT_TRUE(base::ListDir(target_)->empty());
}

}  // namespace
}  // namespace berth::snapshot
