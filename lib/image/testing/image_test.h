// ImageTest: an ImageService over a scratch root and a FakeRegistry. Checks in the end that nothing
// unfinished is left.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/image/image_service.h"
#include "lib/image/testing/fake_registry.h"
#include "lib/mount/testing/fake_mounter.h"
#include "lib/store/image_store.h"

namespace berth::image {

class ImageTest : public ::testing::Test {
 protected:
  using TarBuilder = archive::TarBuilder;

  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "needs root: layers carry owners and trusted.* attributes";
    }
    char name[] = "/tmp/berth-image-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    root_ = dir_ + "/root";
    ASSERT_TRUE(base::MakeDirs(root_).ok());
    Open();
  }
  void TearDown() override {
    if (dir_.empty()) {
      return;
    }
    CheckNothingUnfinished();
    Close();
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  void Open() {
    auto db = store::Database::Open(root_ + "/berth.db");
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
    store_ = std::make_unique<store::ImageStore>(*db_);
    snapshotter_ = std::make_unique<snapshot::OverlaySnapshotter>(root_ + "/layers", mounter_);
    registry::RegistryOptions registry_options;
    registry_options.max_attempts = 1;
    client_ = std::make_unique<registry::RegistryClient>(
        server_, std::make_shared<const registry::RegistriesConf>(), registry_options);
    options_.import_path = root_ + "/import";
    options_.recipes_path = root_ + "/recipes";
    options_.trash_path = root_ + "/trash";
    images_ = std::make_unique<ImageService>(*client_, *snapshotter_, *store_, options_);
    const absl::Status recovered = images_->Recover();
    ASSERT_TRUE(recovered.ok()) << recovered;
    images_->SetLayersInUse([this] { return in_use_; });
  }
  void Close() {
    images_.reset();
    client_.reset();
    snapshotter_.reset();
    store_.reset();
    db_.reset();
  }
  // As after a crash: another process on the same root.
  void Reopen() {
    Close();
    Open();
  }

  absl::StatusOr<std::string> Pull(const std::string& reference) {
    return images_->Pull(base::OpContext::Background(), reference, std::nullopt);
  }
  void MustPull(const std::string& reference, const FakeImage& image) {
    const auto id = Pull(reference);
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_EQ(*id, image.id());
  }
  static FakeLayer Layer(const std::string& file, const std::string& content) {
    return GzipLayer(TarBuilder().Dir("./").File(file, content));
  }
  std::string Content(const std::string& image, size_t layer_from_top, const std::string& path) {
    const auto found = images_->Find(image);
    if (!found.ok()) {
      return found.status().ToString();
    }
    const auto content = base::ReadFile(
        snapshotter_->LayerPath((*found)->layers.at(layer_from_top)) + "/" + path, 1 << 20);
    return content.ok() ? *content : content.status().ToString();
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& image : images_->List()) {
      names.insert(names.end(), image->repo_tags.begin(), image->repo_tags.end());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  // Directories of layers, without the empty one.
  std::set<int64_t> LayerDirs() {
    std::set<int64_t> numbers = Numbers("layers");
    numbers.erase(0);
    return numbers;
  }
  std::set<int64_t> Numbers(const std::string& directory) {
    std::set<int64_t> numbers;
    const auto names = base::ListDir(root_ + "/" + directory);
    for (const std::string& name : *names) {
      EXPECT_EQ(name.find_first_not_of("0123456789"), std::string::npos) << name;
      numbers.insert(std::stoll(name));
    }
    return numbers;
  }
  std::set<int64_t> CompleteLayers() {
    std::set<int64_t> numbers;
    const auto layers = store_->Layers();
    for (const store::LayerRecord& layer : *layers) {
      numbers.insert(layer.number);
    }
    return numbers;
  }
  // Whatever removals and pulls have left to do is done.
  void CheckNothingUnfinished() {
    images_->WaitIdle();
    EXPECT_EQ(LayerDirs(), CompleteLayers());
    EXPECT_EQ(Numbers("recipes"), CompleteLayers());
    EXPECT_TRUE(base::ListDir(root_ + "/trash")->empty());
    EXPECT_TRUE(store_->PendingLayers()->empty());
    EXPECT_FALSE(base::PathExists(root_ + "/import") && !base::ListDir(root_ + "/import")->empty());
  }

  std::string dir_;
  std::string root_;
  ImageOptions options_;
  std::set<int64_t> in_use_;
  FakeRegistry server_;
  mount::FakeMounter mounter_;
  std::unique_ptr<store::Database> db_;
  std::unique_ptr<store::ImageStore> store_;
  std::unique_ptr<snapshot::OverlaySnapshotter> snapshotter_;
  std::unique_ptr<registry::RegistryClient> client_;
  std::unique_ptr<ImageService> images_;
};

}  // namespace berth::image
