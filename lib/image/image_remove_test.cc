// Removal and what keeps layers. Needs root.
#include "lib/image/testing/image_test.h"

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
  }

  const FakeLayer shared_ = Layer("shared", "s");
  const FakeImage image_ = MakeImage({shared_, Layer("f", "1")});
};

TEST_F(ImageRemoveTest, ROOT_ByTagTheLastOneTakesTheImage) {
  MustRemove("reg.example/team/app:v1");
  EXPECT_EQ(Names(), std::vector<std::string>{"reg.example/team/app:v2"});
  EXPECT_EQ(LayerDirs().size(), 2u);
  MustRemove("reg.example/team/app:v2");
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

TEST_F(ImageRemoveTest, ROOT_ByDigestTheRepositorysNamesGo) {
  MustPull("reg.example/other/app:v1", image_);
  MustRemove("reg.example/team/app@" + image_.digest());
  ASSERT_EQ(images_->List().size(), 1u);
  EXPECT_EQ(images_->List()[0]->repo_tags, std::vector<std::string>{"reg.example/other/app:v1"});
  EXPECT_EQ(images_->List()[0]->repo_digests,
            std::vector<std::string>{"reg.example/other/app@" + image_.digest()});
  MustRemove("reg.example/other/app@" + image_.digest());
  EXPECT_TRUE(images_->List().empty());
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
  EXPECT_EQ(LayerDirs(), std::set<int64_t>{top});
  // A pull finds it again.
  MustPull("reg.example/team/app:v1", image_);
  EXPECT_EQ(images_->List()[0]->layers[0], top);
  EXPECT_EQ(server_.Gets(image_.layers[1]), 1);
  MustRemove(image_.id());
  in_use_ = {};
  images_->CollectGarbage();
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
  EXPECT_TRUE(LayerDirs().empty());
}

TEST_F(ImageRemoveTest, ROOT_NothingIsCollectedBeforeContainersAreKnown) {
  in_use_ = {images_->List()[0]->layers[0]};
  MustRemove(image_.id());
  Close();
  db_ = *store::Database::Open(root_ + "/berth.db");
  store_ = std::make_unique<store::ImageStore>(*db_);
  client_ = std::make_unique<registry::RegistryClient>(
      server_, std::make_shared<const registry::RegistriesConf>(), registry::RegistryOptions());
  images_ = std::make_unique<ImageService>(*client_, *snapshotter_, *store_, options_);
  ASSERT_TRUE(images_->Recover().ok());
  images_->CollectGarbage();
  EXPECT_EQ(LayerDirs().size(), 1u);
}

TEST_F(ImageRemoveTest, ROOT_PinsFollowTheConfiguration) {
  EXPECT_FALSE(images_->List()[0]->pinned);
  images_->SetPinned({"reg.example/team/*"});
  EXPECT_TRUE(images_->List()[0]->pinned);
}

}  // namespace
}  // namespace berth::image
