// Pulls: what becomes visible, and that nothing does when anything fails. Needs root.
#include <sys/mount.h>

#include <thread>

#include "lib/image/testing/image_test.h"

namespace berth::image {
namespace {

using ImagePullTest = ImageTest;

TEST_F(ImagePullTest, ROOT_MakesImageLayersAndNamesVisible) {
  const FakeImage image = MakeImage({Layer("base", "1"), Layer("top", "2")});
  server_.Put("library/app", "v1", image);
  MustPull("app:v1", image);
  const auto images = images_->List();
  ASSERT_EQ(images.size(), 1u);
  EXPECT_EQ(images[0]->id, image.id());
  EXPECT_EQ(images[0]->repo_tags, std::vector<std::string>{"docker.io/library/app:v1"});
  EXPECT_EQ(images[0]->repo_digests,
            std::vector<std::string>{"docker.io/library/app@" + image.digest()});
  EXPECT_EQ(images[0]->config, image.config);
  EXPECT_EQ(images[0]->diff_ids, (std::vector<std::string>{image.layers[0].diff_id.ToString(),
                                                           image.layers[1].diff_id.ToString()}));
  EXPECT_EQ(Content("app:v1", 0, "top"), "2");
  EXPECT_EQ(Content("app:v1", 1, "base"), "1");
  EXPECT_EQ(images[0]->size_bytes, 4 * 4096 + image.config.size());
  EXPECT_EQ(images_->Usage().bytes, 4u * 4096);
  EXPECT_EQ(images_->Usage().inodes, 4u);

  const int gets = server_.BlobGets();
  MustPull("app:v1", image);
  EXPECT_EQ(server_.BlobGets(), gets + 1) << "the config alone";
  Reopen();
  EXPECT_EQ(Names(), std::vector<std::string>{"docker.io/library/app:v1"});
  EXPECT_EQ(images_->Usage().inodes, 4u);
}

TEST_F(ImagePullTest, ROOT_AnIndexGivesThisPlatformsImageAndBothDigests) {
  const FakeImage image = MakeImage({Layer("f", "1")});
  const std::string index = server_.PutIndex("team/app", "v1", image);
  MustPull("reg.example/team/app:v1", image);
  std::vector<std::string> digests = {"reg.example/team/app@" + index,
                                      "reg.example/team/app@" + image.digest()};
  std::sort(digests.begin(), digests.end());
  EXPECT_EQ(images_->List()[0]->repo_digests, digests);
}

TEST_F(ImagePullTest, ROOT_ByDigestThereIsNoTag) {
  const FakeImage image = MakeImage({Layer("f", "1")});
  server_.Put("team/app", "v1", image);
  MustPull("reg.example/team/app:ignored@" + image.digest(), image);
  EXPECT_TRUE(images_->List()[0]->repo_tags.empty());
  EXPECT_TRUE(images_->Find("reg.example/team/app@" + image.digest()).ok());
}

TEST_F(ImagePullTest, ROOT_ATagMovesToTheNewImage) {
  const FakeImage old = MakeImage({Layer("f", "1")});
  const FakeImage next = MakeImage({Layer("f", "2")});
  server_.Put("library/app", "latest", old);
  MustPull("app", old);
  server_.Put("library/app", "latest", next);
  MustPull("app", next);
  EXPECT_EQ((*images_->Find("app"))->id, next.id());
  const auto left = images_->Find(old.id());
  ASSERT_TRUE(left.ok());
  EXPECT_TRUE((*left)->repo_tags.empty());
  EXPECT_FALSE((*left)->repo_digests.empty());
}

TEST_F(ImagePullTest, ROOT_ImagesWithoutLayersAndWithOneTwice) {
  const FakeImage none = MakeImage({});
  server_.Put("library/none", "latest", none);
  MustPull("none", none);
  EXPECT_TRUE(images_->List()[0]->layers.empty());
  const FakeLayer empty = {archive::Gzip(std::string(1024, '\0')),
                           oci::DigestOf(std::string(1024, '\0'))};
  const FakeImage twice = MakeImage({Layer("f", "1"), empty, Layer("g", "2"), empty});
  server_.Put("library/twice", "latest", twice);
  MustPull("twice", twice);
  EXPECT_EQ((*images_->Find("twice"))->layers.size(), 4u);
  EXPECT_EQ(server_.Gets(empty), 1);
}

TEST_F(ImagePullTest, ROOT_UndescribedDirectoriesLookLikeThoseBelow) {
  TarBuilder base;
  base.Add({.name = "./", .type = '5', .mode = 0711, .uid = 5});
  base.Add({.name = "tmp/", .type = '5', .mode = 01777, .uid = 1, .gid = 2, .mtime = 4242});
  base.Dir("var").Add({.name = "var/lib/", .type = '5', .mode = 0700}).Symlink("lnk", "/tmp");
  TarBuilder middle;
  middle.Dir("./").File(".wh.var", "");
  TarBuilder top;
  top.File("tmp/x", "x").File("var/lib/y", "y").File("lnk/z", "z");
  const FakeImage image = MakeImage({GzipLayer(base), GzipLayer(middle), GzipLayer(top)});
  server_.Put("library/app", "latest", image);
  MustPull("app", image);
  const std::string layer = snapshotter_->LayerPath(images_->List()[0]->layers[0]);
  struct stat st;
  ASSERT_EQ(::stat((layer + "/tmp").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 01777u);
  EXPECT_EQ(st.st_uid, 1u);
  EXPECT_EQ(st.st_gid, 2u);
  EXPECT_EQ(st.st_mtime, 4242);
  ASSERT_EQ(::stat((layer + "/var/lib").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u) << "hidden by the layer between";
  ASSERT_EQ(::stat((layer + "/lnk").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u) << "a symlink below is not followed";
  ASSERT_EQ(::stat(layer.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u) << "the middle layer describes its root";
}

TEST_F(ImagePullTest, ROOT_EqualPullsAreOne) {
  const FakeImage image = MakeImage({Layer("f", "1"), Layer("g", "2")});
  server_.Put("library/app", "latest", image);
  server_.Hold(image.layers[0]);
  std::vector<std::thread> threads;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([&] { MustPull("app", image); });
  }
  while (server_.Gets(image.layers[0]) == 0) {
    std::this_thread::yield();
  }
  std::this_thread::sleep_for(
      std::chrono::milliseconds(100));  // for the others to arrive; being late would not fail
  server_.ReleaseAll();
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(server_.Gets(image.layers[0]), 1);
  EXPECT_EQ(server_.Gets(image.layers[1]), 1);
  EXPECT_EQ(images_->List().size(), 1u);
  while (server_.close_idles == 0) {
    std::this_thread::yield();  // done right after the answer
  }
}

TEST_F(ImagePullTest, ROOT_EveryWaiterHasItsOwnDeadline) {
  const FakeImage image = MakeImage({Layer("f", "1")});
  server_.Put("library/app", "latest", image);
  server_.Hold(image.layers[0]);
  std::thread patient;
  {
    // The impatient one is first, so the transfer is its.
    std::thread impatient([&] {
      const auto id =
          images_->Pull(base::OpContext::WithTimeout(absl::Milliseconds(300)), "app", std::nullopt);
      EXPECT_EQ(id.status().code(), absl::StatusCode::kDeadlineExceeded) << id.status();
      EXPECT_NE(std::string(id.status().message()).find("pull image 'app'"), std::string::npos);
    });
    while (server_.Gets(image.layers[0]) == 0) {
      std::this_thread::yield();
    }
    patient = std::thread([&] { MustPull("app", image); });
    impatient.join();
  }
  server_.ReleaseAll();
  patient.join();
  EXPECT_EQ(server_.Gets(image.layers[0]), 1);
}

TEST_F(ImagePullTest, ROOT_WhenNobodyWaitsTheTransferIsGivenUp) {
  const FakeImage image = MakeImage({Layer("f", "1"), Layer("g", "2")});
  server_.Put("library/app", "latest", image);
  server_.Hold(image.layers[0]);
  std::atomic<bool> gone = false;
  const base::OpContext ctx(absl::InfiniteFuture(), [&] { return gone.load(); });
  std::thread caller([&] {
    EXPECT_EQ(images_->Pull(ctx, "app", std::nullopt).status().code(),
              absl::StatusCode::kCancelled);
  });
  while (server_.Gets(image.layers[0]) == 0) {
    std::this_thread::yield();
  }
  gone = true;
  caller.join();
  while (server_.close_idles == 0) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(images_->List().empty());
  while (!LayerDirs().empty()) {
    std::this_thread::yield();  // a worker removes its directory last
  }
  server_.ReleaseAll();
  MustPull("app", image);
}

TEST_F(ImagePullTest, ROOT_ALayerOfTwoImagesIsFetchedOnce) {
  const FakeLayer shared = Layer("shared", "s");
  const FakeImage a = MakeImage({shared, Layer("a", "1")});
  const FakeImage b = MakeImage({shared, Layer("b", "2")});
  server_.Put("library/a", "latest", a);
  server_.Put("library/b", "latest", b);
  server_.Hold(shared);
  std::thread first([&] { MustPull("a", a); });
  std::thread second([&] { MustPull("b", b); });
  while (server_.Gets(a.layers[1]) == 0 || server_.Gets(b.layers[1]) == 0) {
    std::this_thread::yield();
  }
  server_.ReleaseAll();
  first.join();
  second.join();
  EXPECT_EQ(server_.Gets(shared), 1);
  EXPECT_EQ(images_->List().size(), 2u);
  EXPECT_EQ(LayerDirs().size(), 3u);
}

// The one who goes away is the one whose source the layer is fetched from.
TEST_F(ImagePullTest, ROOT_WhoSharesALayerIsNotDisturbedByAnothersEnd) {
  const FakeLayer shared = Layer("shared", "s");
  const FakeImage a = MakeImage({shared}, "a");
  const FakeImage b = MakeImage({shared, Layer("b", "2")});
  server_.Put("team/a", "latest", a);
  server_.Put("team/b", "latest", b);
  server_.Hold(shared);
  std::atomic<bool> gone = false;
  const base::OpContext ctx(absl::InfiniteFuture(), [&] { return gone.load(); });
  std::thread first([&] {
    EXPECT_EQ(images_->Pull(ctx, "reg.example/team/a", std::nullopt).status().code(),
              absl::StatusCode::kCancelled);
  });
  while (server_.Gets(shared) == 0) {
    std::this_thread::yield();
  }
  std::thread second([&] { MustPull("reg.example/team/b", b); });
  while (server_.Gets(b.layers[1]) == 0) {
    std::this_thread::yield();
  }
  gone = true;
  first.join();
  server_.ReleaseAll();
  second.join();
  EXPECT_EQ(server_.Gets(shared), 1);
  EXPECT_EQ(Names(), std::vector<std::string>{"reg.example/team/b:latest"});
}

TEST_F(ImagePullTest, ROOT_AnothersFailureToFetchIsNotOurs) {
  const FakeLayer shared = Layer("shared", "s");
  const FakeImage a = MakeImage({shared}, "a");
  const FakeImage b = MakeImage({shared, Layer("b", "2")});
  server_.Put("team/a", "latest", a);
  server_.Put("team/b", "latest", b);
  server_.Forget("team/a", shared);
  server_.Hold(shared);
  std::thread first(
      [&] { EXPECT_EQ(Pull("reg.example/team/a").status().code(), absl::StatusCode::kNotFound); });
  while (server_.Gets(shared) == 0) {
    std::this_thread::yield();
  }
  std::thread second([&] { MustPull("reg.example/team/b", b); });
  while (server_.Gets(b.layers[1]) == 0) {
    std::this_thread::yield();
  }
  server_.ReleaseAll();
  first.join();
  second.join();
  EXPECT_EQ(images_->List().size(), 1u);
}

TEST_F(ImagePullTest, ROOT_AFailedLayerLeavesNothing) {
  const FakeLayer good = Layer("good", "1");
  struct Case {
    FakeLayer layer;
    absl::StatusCode code;
    const char* reason;
  };
  const std::string tar = TarBuilder().File("f", std::string(100'000, 'x')).Finish();
  const FakeLayer truncated = {archive::Gzip(tar).substr(0, 200), oci::DigestOf(tar)};
  const FakeLayer short_tar = {archive::Gzip(tar.substr(0, 5000)),
                               oci::DigestOf(tar.substr(0, 5000))};
  const FakeLayer other = {archive::Gzip(tar), oci::DigestOf("something else")};
  const FakeLayer garbage = {std::string(3000, 'g'), oci::DigestOf(std::string(3000, 'g'))};
  const Case cases[] = {
      {truncated, absl::StatusCode::kDataLoss, "gzip stream ends in the middle"},
      {short_tar, absl::StatusCode::kDataLoss, "unpack layer"},
      {other, absl::StatusCode::kDataLoss, "the image's config says"},
      {garbage, absl::StatusCode::kDataLoss, "header: checksum is no octal number"},
      {GzipLayer(TarBuilder().File("../../escape", "x")), absl::StatusCode::kInvalidArgument,
       "leads out of the layer"},
      {GzipLayer(TarBuilder().HardLink("x", "/etc/passwd")), absl::StatusCode::kInvalidArgument,
       "no such file before it"},
  };
  for (const Case& one : cases) {
    const FakeImage image = MakeImage({good, one.layer});
    server_.Put("library/bad", "latest", image);
    const auto id = Pull("bad");
    ASSERT_FALSE(id.ok()) << one.reason;
    EXPECT_EQ(id.status().code(), one.code) << id.status();
    const std::string message(id.status().message());
    EXPECT_NE(message.find(one.reason), std::string::npos) << message;
    EXPECT_NE(message.find("pull image 'bad'"), std::string::npos) << message;
    EXPECT_NE(message.find(oci::DigestOf(one.layer.blob).ToString()), std::string::npos) << message;
    EXPECT_TRUE(images_->List().empty());
    EXPECT_TRUE(CompleteLayers().empty());
  }
}

TEST_F(ImagePullTest, ROOT_ABlobThatIsNotWhatItsDigestSays) {
  const FakeImage image = MakeImage({Layer("f", "1")});
  server_.Put("library/app", "latest", image);
  std::string lie = image.layers[0].blob;
  lie[lie.size() / 2] = static_cast<char>(lie[lie.size() / 2] ^ 1);
  for (const std::string& bytes : {Layer("f", "2").blob, lie, image.layers[0].blob + "more"}) {
    server_.Corrupt(image.layers[0], bytes);
    const auto id = Pull("app");
    ASSERT_FALSE(id.ok());
    EXPECT_EQ(id.status().code(), absl::StatusCode::kDataLoss) << id.status();
    EXPECT_TRUE(images_->List().empty());
  }
  server_.Corrupt(image.layers[0], image.layers[0].blob);
  MustPull("app", image);
}

TEST_F(ImagePullTest, ROOT_WhatIsNotThere) {
  EXPECT_EQ(Pull("nothing").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Pull("Not A Reference").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Pull(std::string(64, 'a')).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ImagePullTest, ROOT_AFullDiskLeavesNothing) {
  Close();
  ASSERT_EQ(::mount("tmpfs", root_.c_str(), "tmpfs", 0, "size=3m"), 0);
  Open();
  std::string big;
  for (unsigned i = 0; i < 700'000; ++i) {
    big += std::to_string(i * 7919);
  }
  const FakeImage image = MakeImage({Layer("small", "1"), Layer("big", big)});
  server_.Put("library/big", "latest", image);
  const auto id = Pull("big");
  EXPECT_EQ(id.status().code(), absl::StatusCode::kResourceExhausted) << id.status();
  EXPECT_TRUE(images_->List().empty());
  CheckNothingUnfinished();
  const FakeImage fits = MakeImage({Layer("small", "1")});
  server_.Put("library/fits", "latest", fits);
  MustPull("fits", fits);
  Close();
  ASSERT_EQ(::umount(root_.c_str()), 0);
  Open();
}

TEST_F(ImagePullTest, ROOT_StartRemovesWhatACrashLeft) {
  const FakeImage image = MakeImage({Layer("f", "1")});
  server_.Put("library/app", "latest", image);
  MustPull("app", image);
  const auto number = store_->ReserveLayer("sha256:" + std::string(64, 'e'));
  ASSERT_TRUE(number.ok());
  ASSERT_TRUE(base::MakeDirs(snapshotter_->LayerPath(*number) + "/half/made").ok());
  ASSERT_TRUE(base::MakeDirs(root_ + "/layers/removing-77/x").ok());
  ASSERT_TRUE(base::MakeDirs(root_ + "/import/abc/x").ok());
  Reopen();
  images_->WaitIdle();
  EXPECT_EQ(LayerDirs().size(), 1u);
  EXPECT_FALSE(base::PathExists(root_ + "/import/abc"));
  EXPECT_EQ(Content("app", 0, "f"), "1");
}

TEST_F(ImagePullTest, ROOT_AnImageThatLostALayerIsForgotten) {
  const FakeLayer shared = Layer("shared", "s");
  const FakeImage a = MakeImage({shared, Layer("a", "1")});
  const FakeImage b = MakeImage({shared});
  server_.Put("library/a", "latest", a);
  server_.Put("library/b", "latest", b);
  MustPull("a", a);
  MustPull("b", b);
  ASSERT_TRUE(base::RemoveTree(snapshotter_->LayerPath((*images_->Find("a"))->layers[0])).ok());
  Reopen();
  EXPECT_EQ(Names(), std::vector<std::string>{"docker.io/library/b:latest"});
  MustPull("a", a);
  EXPECT_EQ(Content("a", 0, "a"), "1");
}

}  // namespace
}  // namespace berth::image
