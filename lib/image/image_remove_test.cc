// Removal and what keeps layers. Needs root.
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "lib/image/testing/image_test.h"
#include "lib/store/disk_reserve.h"

namespace berth::image {
namespace {

class ImageRemoveTest : public ImageTest {
 protected:
  void SetUp() override {
    ImageTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    for (const char* tag : {"v1", "v2"}) {
      server_.Put("team/app", tag, image_);
      MustPull(std::string("reg.example/team/app:") + tag, image_);
    }
    server_.Put("other/app", "v1", image_);
  }
  void MustRemove(const std::string& text) {
    const absl::Status status = images_->Remove(text);
    ASSERT_TRUE(status.ok()) << status;
    images_->WaitIdle();  // layers go in the background
  }

  const FakeLayer shared_ = Layer("shared", "s");
  const FakeImage image_ = MakeImage({shared_, Layer("f", "1")});
  std::unique_ptr<store::DiskReserve> reserve_;
};

// CRI v1 RemoveImage: the image, whatever it was called by.
TEST_F(ImageRemoveTest, ROOT_ByATagTheImageGoes) {
  EXPECT_EQ(Names().size(), 2u);
  MustRemove("reg.example/team/app:v1");
  EXPECT_TRUE(images_->List().empty());
  EXPECT_TRUE(LayerDirs().empty());
  EXPECT_EQ(images_->Usage().bytes, 0u);
  MustRemove("reg.example/team/app:v2");
}

TEST_F(ImageRemoveTest, ROOT_ByIdOrPrefixAllNamesGo) {
  MustRemove(image_.id().substr(0, 12));
  EXPECT_TRUE(images_->List().empty());
  EXPECT_TRUE(LayerDirs().empty());
  MustPull("reg.example/team/app:v1", image_);
  MustRemove("sha256:" + image_.id());
  EXPECT_TRUE(images_->List().empty());
}

TEST_F(ImageRemoveTest, ROOT_ByADigestTheImageGoesFromAllRepositories) {
  MustPull("reg.example/other/app:v1", image_);
  MustRemove("reg.example/team/app@" + image_.digest());
  EXPECT_TRUE(images_->List().empty());
}

// A container stands on a damaged layer: it keeps it, and the next pull unpacks another.
TEST_F(ImageRemoveTest, ROOT_ACondemnedLayerIsUnpackedAnew) {
  const std::vector<int64_t> before = images_->List()[0]->layers;
  in_use_ = {before[0]};
  const auto condemned = images_->Condemn({before[0]});
  ASSERT_TRUE(condemned.ok()) << condemned.status();
  EXPECT_EQ(*condemned, std::vector<std::string>{image_.id()});
  EXPECT_TRUE(images_->List().empty());
  images_->WaitIdle();
  EXPECT_EQ(LayerDirs(), std::set<int64_t>{before[0]});
  MustPull("reg.example/team/app:v1", image_);
  EXPECT_NE(images_->List()[0]->layers[0], before[0]);
  in_use_ = {};
  images_->CollectGarbage();
  images_->WaitIdle();
  EXPECT_FALSE(LayerDirs().contains(before[0]));
  EXPECT_EQ(LayerDirs().size(), 2u);
}

TEST_F(ImageRemoveTest, ROOT_AbsentIsFineMalformedIsNot) {
  for (const std::string& text :
       {std::string("nothing"), std::string(64, 'b'), std::string("bbbb")}) {
    MustRemove(text);
  }
  EXPECT_EQ(images_->Remove("Not A Name").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(images_->List().size(), 1u);
}

TEST_F(ImageRemoveTest, ROOT_SharedLayersStay) {
  const FakeImage second = MakeImage({shared_, Layer("g", "2")});
  server_.Put("team/second", "v1", second);
  MustPull("reg.example/team/second:v1", second);
  EXPECT_EQ(LayerDirs().size(), 3u);
  MustRemove(image_.id());
  EXPECT_EQ(LayerDirs().size(), 2u);
  EXPECT_EQ(Content(second.id(), 1, "shared"), "s");
  MustRemove(second.id());
  EXPECT_TRUE(LayerDirs().empty());
}

TEST_F(ImageRemoveTest, ROOT_LayersOfContainersStayUntilCollected) {
  const int64_t top = images_->List()[0]->layers[0];
  in_use_ = {top};
  MustRemove(image_.id());
  EXPECT_EQ(LayerDirs(), std::set<int64_t>{top});
  EXPECT_GT(images_->Usage().bytes, 0u);
  Reopen();
  images_->CollectGarbage();
  images_->WaitIdle();
  EXPECT_EQ(LayerDirs(), std::set<int64_t>{top});
  // A pull finds it again.
  MustPull("reg.example/team/app:v1", image_);
  EXPECT_EQ(images_->List()[0]->layers[0], top);
  EXPECT_EQ(server_.Gets(image_.layers[1]), 1);
  MustRemove(image_.id());
  in_use_ = {};
  images_->CollectGarbage();
  images_->WaitIdle();
  EXPECT_TRUE(LayerDirs().empty());
  EXPECT_EQ(images_->Usage().inodes, 0u);
}

TEST_F(ImageRemoveTest, ROOT_ALeaseKeepsTheLayers) {
  {
    const auto lease = images_->Use("reg.example/team/app:v1");
    ASSERT_TRUE(lease.ok());
    MustRemove(image_.id());
    EXPECT_EQ(LayerDirs().size(), 2u);
    EXPECT_EQ(lease->image().id, image_.id());
    EXPECT_EQ(images_->Use("reg.example/team/app:v1").status().code(), absl::StatusCode::kNotFound);
  }
  images_->CollectGarbage();
  images_->WaitIdle();
  EXPECT_TRUE(LayerDirs().empty());
}

TEST_F(ImageRemoveTest, ROOT_NothingIsCollectedBeforeContainersAreKnown) {
  in_use_ = {images_->List()[0]->layers[0]};
  MustRemove(image_.id());
  Close();
  db_ = *store::Database::Open(root_ + "/berth.db");
  store_ = std::make_unique<store::ImageStore>(*db_);
  snapshotter_ = std::make_unique<snapshot::OverlaySnapshotter>(root_ + "/layers", mounter_);
  client_ = std::make_unique<registry::RegistryClient>(
      server_, std::make_shared<const registry::RegistriesConf>(), registry::RegistryOptions());
  images_ = std::make_unique<ImageService>(*client_, *snapshotter_, *store_, options_);
  ASSERT_TRUE(images_->Recover().ok());
  images_->CollectGarbage();
  images_->WaitIdle();
  EXPECT_EQ(LayerDirs().size(), 1u);
}

TEST_F(ImageRemoveTest, ROOT_PinsFollowTheConfiguration) {
  EXPECT_FALSE(images_->List()[0]->pinned);
  images_->SetPinned({"reg.example/team/*"});
  EXPECT_TRUE(images_->List()[0]->pinned);
}

// A layer in the trash that cannot be deleted: something is mounted in it.
TEST_F(ImageRemoveTest, ROOT_UsageCountsLayersUntilTheyAreDeleted) {
  const FsUsage before = images_->Usage();
  const int64_t top = images_->List()[0]->layers[0];
  const std::string mount_point = snapshotter_->LayerPath(top) + "/mnt";
  ASSERT_TRUE(base::MakeDirs(mount_point).ok());
  ASSERT_EQ(::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, nullptr), 0);
  MustRemove(image_.id());
  EXPECT_TRUE(images_->List().empty());
  EXPECT_TRUE(LayerDirs().empty());
  EXPECT_EQ(images_->Usage().inodes, before.inodes / 2) << "the other layer is gone";
  const auto trash = base::ListDir(root_ + "/trash");
  ASSERT_EQ(trash->size(), 1u);

  // The image comes again meanwhile, with layers of its own.
  MustPull("reg.example/team/app:v1", image_);
  EXPECT_GT(images_->List()[0]->layers[0], top);
  EXPECT_EQ(Content("reg.example/team/app:v1", 0, "f"), "1");
  EXPECT_EQ(images_->Usage().inodes, before.inodes / 2 * 3);

  // A start counts it too, and tries again.
  Reopen();
  EXPECT_EQ(images_->Usage().inodes, before.inodes / 2 * 3);
  images_->WaitIdle();
  ASSERT_EQ(::umount2((root_ + "/trash/" + trash->at(0) + "/mnt").c_str(), MNT_DETACH), 0);
  Reopen();
  images_->WaitIdle();
  EXPECT_TRUE(base::ListDir(root_ + "/trash")->empty());
  EXPECT_EQ(images_->Usage().inodes, before.inodes);
}

// The kubelet looks at the disk right after its removals.
TEST_F(ImageRemoveTest, ROOT_WithLittleRoomARemovalWaitsUntilThereIsSome) {
  Close();
  ASSERT_EQ(::mount("tmpfs", root_.c_str(), "tmpfs", 0, "size=15m"), 0);
  Open();
  std::string big;
  for (unsigned i = 0; i < 570'000; ++i) {
    big += std::to_string(i * 7919 % 1'000'003).substr(0, 7);
  }
  const FakeImage image = MakeImage({Layer("big", big)});
  server_.Put("library/big", "latest", image);
  MustPull("big", image);
  images_->WaitIdle();
  struct statvfs before;
  struct statvfs after;
  ASSERT_EQ(::statvfs(root_.c_str(), &before), 0);
  EXPECT_LT(before.f_bavail * 5, before.f_blocks) << "the test fills the disk";
  ASSERT_TRUE(images_->Remove("big").ok());
  ASSERT_EQ(::statvfs(root_.c_str(), &after), 0);
  EXPECT_GT(after.f_bavail, before.f_bavail + big.size() / before.f_frsize / 2);
  EXPECT_TRUE(base::ListDir(root_ + "/trash")->empty());
  Close();
  ASSERT_EQ(::umount(root_.c_str()), 0);
  Open();
}

// A stop came between the names' end and the layers', or in the middle of deleting.
TEST_F(ImageRemoveTest, ROOT_AStartFinishesWhatARemovalHadLeft) {
  const int64_t top = images_->List()[0]->layers[0];
  images_->WaitIdle();
  Close();
  db_ = *store::Database::Open(root_ + "/berth.db");
  ASSERT_TRUE(store::ImageStore(*db_).RemoveImage(image_.id()).ok());
  db_.reset();
  ASSERT_TRUE(base::MakeDirs(root_ + "/trash/77-4096-2-abcdef01/half").ok());
  ASSERT_TRUE(base::MakeDirs(root_ + "/layers/removing-78/half").ok());
  ASSERT_TRUE(base::WriteFile(root_ + "/recipes/79", "x", 0600).ok());
  in_use_ = {top};
  Open();
  images_->CollectGarbage();
  images_->WaitIdle();
  EXPECT_EQ(LayerDirs(), std::set<int64_t>{top});
  EXPECT_EQ(Numbers("recipes"), std::set<int64_t>{top});
  EXPECT_TRUE(base::ListDir(root_ + "/trash")->empty());
}

// Used up at a full disk, it is made as soon as there is room again.
TEST_F(ImageRemoveTest, ROOT_TheDisksReserveIsMadeAgain) {
  const std::string path = root_ + "/reserve";
  reserve_ = std::make_unique<store::DiskReserve>(path);
  options_.reserve = reserve_.get();
  Reopen();
  images_->WaitIdle();
  EXPECT_TRUE(base::PathExists(path)) << "at a start";
  ASSERT_TRUE(reserve_->Release());
  MustRemove(image_.id());
  EXPECT_TRUE(base::PathExists(path)) << "after a removal";
  ASSERT_TRUE(reserve_->Release());
  MustPull("reg.example/team/app:v1", image_);
  images_->WaitIdle();
  EXPECT_TRUE(base::PathExists(path)) << "after a pull";
}

}  // namespace
}  // namespace berth::image
