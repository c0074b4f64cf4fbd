// Exports and what an import makes of them. Needs root.
#include "lib/base/status.h"
#include "lib/image/testing/image_test.h"

namespace berth::image {
namespace {

using Format = ExportOptions::Format;

class ImageExportTest : public ImageTest {
 protected:
  void SetUp() override {
    ImageTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    server_.Put("team/app", "v1", image_);
    MustPull("reg.example/team/app:v1", image_);
  }
  absl::StatusOr<std::string> Export(const std::vector<std::string>& images,
                                     const ExportOptions& options = {}) {
    std::string archive;
    RETURN_IF_ERROR(
        images_->Export(base::OpContext::Background(), images, options, [&](std::string_view part) {
          archive += part;
          return absl::OkStatus();
        }));
    return archive;
  }
  absl::StatusCode CodeOf(const std::vector<std::string>& images,
                          const ExportOptions& options = {}) {
    return Export(images, options).status().code();
  }

  const FakeImage image_ = MakeImage({Layer("base", "1"), Layer("top", "2")});
};

TEST_F(ImageExportTest, ROOT_AnImportGivesTheSameImage) {
  for (const ExportOptions& options : {ExportOptions{}, ExportOptions{.compress = true},
                                       ExportOptions{.format = Format::kDocker}}) {
    const auto archive = Export({"reg.example/team/app:v1"}, options);
    ASSERT_TRUE(archive.ok()) << archive.status();
    EXPECT_TRUE(*archive == *Export({image_.id(), "reg.example/team/app:v1"}, options));
    ASSERT_TRUE(images_->Remove(image_.id()).ok());
    images_->WaitIdle();
    EXPECT_TRUE(LayerDirs().empty());
    ASSERT_TRUE(base::WriteFile(dir_ + "/a.tar", *archive, 0600).ok());
    const auto imported = images_->Import(base::OpContext::Background(), dir_ + "/a.tar", {});
    ASSERT_TRUE(imported.ok()) << imported.status();
    EXPECT_EQ(imported->at(0).id, image_.id());
    EXPECT_EQ(Names(), std::vector<std::string>{"reg.example/team/app:v1"});
    EXPECT_EQ(Content(image_.id(), 0, "top"), "2");
  }
}

TEST_F(ImageExportTest, ROOT_ADamagedLayerIsNotExported) {
  const std::string layer = snapshotter_->LayerPath(images_->List()[0]->layers[0]);
  ASSERT_TRUE(base::WriteFile(layer + "/top", "3", 0644).ok());
  size_t given = 0;
  const absl::Status status =
      images_->Export(base::OpContext::Background(), {image_.id()}, {}, [&](std::string_view part) {
        given += part.size();
        return absl::OkStatus();
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_NE(std::string(status.message()).find("top"), std::string::npos) << status;
  EXPECT_EQ(given, 0u);
}

TEST_F(ImageExportTest, ROOT_WhatCannotBeExported) {
  EXPECT_EQ(CodeOf({}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf({"absent"}), absl::StatusCode::kNotFound);
  EXPECT_EQ(CodeOf({image_.id()}, {.format = Format::kDocker, .compress = true}),
            absl::StatusCode::kInvalidArgument);
  for (const int64_t number : images_->List()[0]->layers) {
    ASSERT_TRUE(base::RemoveFile(options_.recipes_path + "/" + std::to_string(number)).ok());
  }
  EXPECT_EQ(CodeOf({image_.id()}), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(images_->Remove(image_.id()).ok());  // what lacks recipes must not stay
}

TEST_F(ImageExportTest, ROOT_TheSinksErrorEndsIt) {
  EXPECT_EQ(images_
                ->Export(base::OpContext::Background(), {image_.id()}, {},
                         [](std::string_view) { return absl::ResourceExhaustedError("full"); })
                .code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace berth::image
