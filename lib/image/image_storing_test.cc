// What is on the disk when: publication before it, power cuts, disks that fail. Needs root.
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <thread>
#include <utility>

#include "lib/base/status.h"
#include "lib/image/testing/image_test.h"

namespace berth::image {
namespace {

// The disk: counts syncs, holds them back, and fails.
class Disk {
 public:
  absl::Status Sync() {
    base::MutexLock lock(mu_);
    ++syncs_;
    changed_.SignalAll();
    while (is_held_) {
      changed_.Wait(mu_);
    }
    return once_.ok() ? result_ : std::exchange(once_, absl::OkStatus());
  }
  void Hold() {
    base::MutexLock lock(mu_);
    is_held_ = true;
  }
  // What is held back, and what comes, ends with `result`.
  void Release(const absl::Status& result = absl::OkStatus()) {
    base::MutexLock lock(mu_);
    is_held_ = false;
    result_ = result;
    changed_.SignalAll();
  }
  // One that is held back ends with `result`: the kernel tells of a failure once.
  void ReleaseOnce(const absl::Status& result) {
    base::MutexLock lock(mu_);
    is_held_ = false;
    once_ = result;
    changed_.SignalAll();
  }
  void AwaitSyncs(int count) {
    base::MutexLock lock(mu_);
    while (syncs_ < count) {
      changed_.Wait(mu_);
    }
  }
  int syncs() {
    base::MutexLock lock(mu_);
    return syncs_;
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  bool is_held_ ABSL_GUARDED_BY(mu_) = false;
  int syncs_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status result_ ABSL_GUARDED_BY(mu_);
  absl::Status once_ ABSL_GUARDED_BY(mu_);  // the next one's instead of `result_`
};

class ImageStoringTest : public ImageTest {
 protected:
  void SetUp() override {
    options_.boot_id = "boot-1";
    options_.sync = [this](int) { return disk_.Sync(); };
    ImageTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    server_.Put("library/a", "latest", a_);
    server_.Put("library/b", "latest", b_);
    server_.Put("library/c", "latest", c_);
  }
  void TearDown() override {
    disk_.Release();
    ImageTest::TearDown();
  }
  // Goes on with the root as it is now, as another process would find it after this one's sudden
  // end, in the boot `boot_id`.
  void CutOff(const std::string& boot_id) {
    // 1: something went away meanwhile, as it may before a power cut too.
    const int copied = std::system(("cp -a " + root_ + " " + dir_ + "/later").c_str());
    EXPECT_LE(WEXITSTATUS(copied), 1);
    disk_.Release();
    Close();
    root_ = dir_ + "/later";
    options_.boot_id = boot_id;
    Open();
  }
  // Imports `a_` from a layout as "imported:1".
  absl::Status ImportA(const base::OpContext& ctx) {
    const std::string layout = dir_ + "/layout";
    const std::string index = fmt::format(
        R"({{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}})",
        oci::kOciManifestType, a_.digest(), a_.manifest.size());
    std::map<std::string, std::string> files = {
        {"index.json", index}, {"oci-layout", R"({"imageLayoutVersion":"1.0.0"})"}};
    for (const std::string& blob : {a_.config, a_.manifest, a_.layers[0].blob, a_.layers[1].blob}) {
      files["blobs/sha256/" + oci::DigestOf(blob).hex()] = blob;
    }
    RETURN_IF_ERROR(base::MakeDirs(layout + "/blobs/sha256"));
    for (const auto& [name, bytes] : files) {
      RETURN_IF_ERROR(base::WriteFile(layout + "/" + name, bytes, 0644));
    }
    return images_->Import(ctx, layout, {"imported:1"}).status();
  }
  void AwaitImages(size_t count) {
    for (int i = 0; i < 1000 && images_->List().size() != count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_EQ(images_->List().size(), count);
  }
  size_t Pending() { return store_->PendingLayers()->size(); }

  static inline const absl::Status kBroken = absl::UnavailableError("syncfs: I/O error (5)");
  const FakeLayer shared_ = Layer("shared", "s");
  const FakeImage a_ = MakeImage({shared_, Layer("a", "1")});
  const FakeImage b_ = MakeImage({shared_, Layer("b", "2")});
  const FakeImage c_ = MakeImage({shared_}, "c");
  Disk disk_;
};

TEST_F(ImageStoringTest, ROOT_APullDoesNotWaitForTheDisk) {
  disk_.Hold();
  MustPull("a", a_);
  EXPECT_EQ(Content("a", 0, "a"), "1");
  EXPECT_EQ(Pending(), 2u);
  disk_.AwaitSyncs(1);
  // What comes while the disk is busy shares one more sync.
  MustPull("b", b_);
  MustPull("c", c_);
  EXPECT_EQ(Pending(), 3u);
  disk_.Release();
  images_->WaitIdle();
  EXPECT_EQ(Pending(), 0u);
  EXPECT_EQ(disk_.syncs(), 2);
  MustPull("c", c_);
  images_->WaitIdle();
  EXPECT_EQ(disk_.syncs(), 2) << "nothing was new";
}

TEST_F(ImageStoringTest, ROOT_APowerCutTakesWhatWasNotOnTheDisk) {
  MustPull("a", a_);
  images_->WaitIdle();
  disk_.Hold();
  MustPull("b", b_);
  MustPull("c", c_);
  CutOff("boot-2");
  EXPECT_EQ(Names(),
            (std::vector<std::string>{"docker.io/library/a:latest", "docker.io/library/c:latest"}))
      << "c has only what was on the disk";
  EXPECT_EQ(Content("a", 1, "shared"), "s");
  images_->WaitIdle();
  EXPECT_EQ(LayerDirs().size(), 2u);
  MustPull("b", b_);
  EXPECT_EQ(Content("b", 0, "b"), "2");
}

TEST_F(ImageStoringTest, ROOT_APowerCutTakesWhoSharesALayerThatWasNotOnTheDisk) {
  disk_.Hold();
  MustPull("a", a_);
  MustPull("c", c_);
  CutOff("boot-2");
  EXPECT_TRUE(images_->List().empty());
  images_->WaitIdle();
  EXPECT_TRUE(LayerDirs().empty());
  EXPECT_EQ(images_->Usage().inodes, 0u);
}

TEST_F(ImageStoringTest, ROOT_ASuddenEndOfTheDaemonTakesNothing) {
  disk_.Hold();
  MustPull("a", a_);
  CutOff("boot-1");
  EXPECT_EQ(Content("a", 0, "a"), "1");
  images_->WaitIdle();
  EXPECT_EQ(Pending(), 0u);
  EXPECT_EQ(disk_.syncs(), 2) << "the start has written it";
}

TEST_F(ImageStoringTest, ROOT_WhatTheDiskFailedToStoreIsForgotten) {
  MustPull("c", c_);
  images_->WaitIdle();
  disk_.Hold();
  MustPull("a", a_);
  disk_.AwaitSyncs(2);
  MustPull("b", b_);  // after the sync began; nobody knows what it has lost
  disk_.Release(kBroken);
  images_->WaitIdle();
  EXPECT_EQ(Names(), std::vector<std::string>{"docker.io/library/c:latest"});
  EXPECT_EQ(LayerDirs().size(), 1u);
  disk_.Release();
  MustPull("a", a_);
  images_->WaitIdle();
  EXPECT_EQ(server_.Gets(a_.layers[1]), 2);
  EXPECT_EQ(server_.Gets(shared_), 1);
  EXPECT_EQ(Content("a", 0, "a"), "1");
}

TEST_F(ImageStoringTest, ROOT_AContainerKeepsALayerThatNobodyElseGets) {
  disk_.Hold();
  MustPull("a", a_);
  const int64_t top = images_->List()[0]->layers[0];
  in_use_ = {top};
  disk_.Release(kBroken);
  images_->WaitIdle();
  EXPECT_TRUE(images_->List().empty());
  EXPECT_EQ(LayerDirs(), std::set<int64_t>{top});
  disk_.Release();
  MustPull("a", a_);
  EXPECT_NE(images_->List()[0]->layers[0], top);
  in_use_.clear();
  images_->CollectGarbage();
  images_->WaitIdle();
  EXPECT_EQ(LayerDirs().size(), 2u);
  EXPECT_EQ(LayerDirs().count(top), 0u);
}

TEST_F(ImageStoringTest, ROOT_AFailureReachesWhatIsBeingUnpacked) {
  disk_.Hold();
  MustPull("c", c_);
  disk_.AwaitSyncs(1);
  server_.Hold(b_.layers[1]);
  std::thread pull([&] {
    const auto id = Pull("b");
    EXPECT_EQ(id.status().code(), absl::StatusCode::kDataLoss) << id.status();
  });
  while (server_.Gets(b_.layers[1]) == 0) {
    std::this_thread::yield();
  }
  disk_.Release(kBroken);
  images_->WaitIdle();
  disk_.Release();
  server_.ReleaseAll();
  pull.join();
  EXPECT_TRUE(images_->List().empty());
  images_->WaitIdle();
  EXPECT_TRUE(LayerDirs().empty());
  MustPull("b", b_);
}

TEST_F(ImageStoringTest, ROOT_RemovalDoesNotWaitForTheDiskEither) {
  disk_.Hold();
  MustPull("a", a_);
  MustPull("c", c_);
  disk_.AwaitSyncs(1);
  ASSERT_TRUE(images_->Remove("a").ok());
  EXPECT_EQ(images_->List().size(), 1u);
  disk_.Release();
  images_->WaitIdle();
  EXPECT_EQ(LayerDirs().size(), 1u);
  EXPECT_EQ(Pending(), 0u);
  EXPECT_EQ(Content("c", 0, "shared"), "s");
}

TEST_F(ImageStoringTest, ROOT_ARemovedImageStaysRemovedAfterAPowerCut) {
  disk_.Hold();
  MustPull("a", a_);
  disk_.AwaitSyncs(1);
  ASSERT_TRUE(images_->Remove("a").ok());
  CutOff("boot-2");
  EXPECT_TRUE(images_->List().empty());
  images_->WaitIdle();
  EXPECT_TRUE(LayerDirs().empty());
}

TEST_F(ImageStoringTest, ROOT_AnImportWaitsForTheDisk) {
  disk_.Hold();
  std::atomic<bool> is_done = false;
  std::thread caller([&] {
    const absl::Status status = ImportA(base::OpContext::Background());
    EXPECT_TRUE(status.ok()) << status;
    is_done = true;
  });
  disk_.AwaitSyncs(1);
  AwaitImages(1);  // the disk is asked before they are listed
  EXPECT_FALSE(is_done);
  disk_.Release();
  caller.join();
  EXPECT_EQ(Pending(), 0u);

  ASSERT_TRUE(images_->Remove("imported:1").ok());
  images_->WaitIdle();
  disk_.Release(kBroken);
  EXPECT_EQ(ImportA(base::OpContext::Background()).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(images_->List().empty());

  // The caller goes away while the disk is busy.
  disk_.Hold();
  const int before = disk_.syncs();
  const base::OpContext gone(absl::InfiniteFuture(), [&] { return disk_.syncs() > before; });
  EXPECT_EQ(ImportA(gone).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(images_->List().size(), 1u) << "it is being written";
  disk_.Release();
}

TEST_F(ImageStoringTest, ROOT_AnImportLearnsOfAFailureOfWhatBeganBeforeIt) {
  disk_.Hold();
  MustPull("b", b_);
  disk_.AwaitSyncs(1);
  absl::Status status;
  std::thread caller([&] { status = ImportA(base::OpContext::Background()); });
  AwaitImages(2);
  disk_.ReleaseOnce(kBroken);
  caller.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_TRUE(images_->List().empty());
}

}  // namespace
}  // namespace berth::image
