#include "lib/store/database_check.h"

#include <cstdlib>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/store/database.h"
#include "lib/store/image_store.h"

namespace berth::store {
namespace {

class DatabaseCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-store-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    path_ = dir_ + "/berth.db";
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  // Many images, so that the tables have many pages; closed, so that all is in the file, and not in
  // what the log, which stays, has of it.
  void Fill(int images) {
    auto db = Database::Open(path_);
    ASSERT_TRUE(db.ok()) << db.status();
    ImageStore store(**db);
    for (int i = 0; i < images; ++i) {
      const auto number = store.ReserveLayer(fmt::format("sha256:{:064x}", i));
      ASSERT_TRUE(number.ok());
      ASSERT_TRUE(store
                      .Publish({.image_id = fmt::format("{:064x}", i),
                                .config = std::string(1000, 'c'),
                                .layers = {{.number = *number}},
                                .repo_tags = {fmt::format("docker.io/library/x:{}", i)},
                                .repo_digests = {}})
                      .ok());
    }
  }
  void Damage(size_t offset, size_t bytes) {
    ASSERT_TRUE(base::WriteFile(path_ + "-wal", "", 0600).ok());
    auto content = base::ReadFile(path_, 64 << 20);
    ASSERT_TRUE(content.ok());
    ASSERT_LT(offset + bytes, content->size());
    content->replace(offset, bytes, std::string(bytes, '\xa5'));
    ASSERT_TRUE(base::WriteFile(path_, *content, 0600).ok());
  }
  size_t Images() {
    auto db = Database::OpenReadOnly(path_);
    EXPECT_TRUE(db.ok()) << db.status();
    return ImageStore(**db).Load()->size();
  }

  std::string dir_;
  std::string path_;
};

TEST_F(DatabaseCheckTest, AWholeOneHasNoProblems) {
  Fill(10);
  EXPECT_EQ(*InspectDatabase(path_), std::vector<std::string>());
  EXPECT_EQ(InspectDatabase(dir_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DatabaseCheckTest, ReadOnlyMeansThat) {
  Fill(1);
  auto db = Database::OpenReadOnly(path_);
  ASSERT_TRUE(db.ok()) << db.status();
  EXPECT_FALSE(ImageStore(**db).RemoveImage(std::string(64, '0')).ok());
  EXPECT_EQ(ImageStore(**db).Load()->size(), 1u);
}

// The log has transactions that the file has not, as after a daemon's sudden end.
TEST_F(DatabaseCheckTest, LookingChangesNothingAndNeedsNoFiles) {
  const std::string copy = dir_ + "/copy.db";
  {
    auto db = Database::Open(path_);
    ASSERT_TRUE(db.ok()) << db.status();
    ASSERT_TRUE(ImageStore(**db).ReserveLayer("sha256:1").ok());
    for (const char* suffix : {"-wal", ""}) {
      ASSERT_TRUE(
          base::WriteFile(copy + suffix, *base::ReadFile(path_ + suffix, 64 << 20), 0600).ok());
    }
  }
  const std::string file = *base::ReadFile(copy, 64 << 20);
  const std::string log = *base::ReadFile(copy + "-wal", 64 << 20);
  EXPECT_EQ(*InspectDatabase(copy), std::vector<std::string>());
  {
    auto db = Database::OpenReadOnly(copy);
    ASSERT_TRUE(db.ok()) << db.status();
    EXPECT_EQ(ImageStore(**db).ReservedLayers()->size(), 1u);
    EXPECT_FALSE(base::PathExists(copy + "-shm"));
  }
  EXPECT_EQ(*base::ReadFile(copy, 64 << 20), file);
  EXPECT_EQ(*base::ReadFile(copy + "-wal", 64 << 20), log);
}

TEST_F(DatabaseCheckTest, MostOfADamagedOneIsSaved) {
  Fill(200);
  const size_t size = base::ReadFile(path_, 64 << 20)->size();
  Damage(size / 2 / 4096 * 4096, 4096);
  const auto problems = InspectDatabase(path_);
  ASSERT_TRUE(problems.ok());
  EXPECT_FALSE(problems->empty());
  const auto salvaged = SalvageDatabase(path_);
  ASSERT_TRUE(salvaged.ok()) << salvaged.status();
  EXPECT_TRUE(base::PathExists(salvaged->kept_as));
  EXPECT_EQ(*InspectDatabase(path_), std::vector<std::string>());
  EXPECT_GT(Images(), 150u);
  EXPECT_LE(Images(), 200u);
  ASSERT_TRUE(Database::Open(path_).ok());
}

TEST_F(DatabaseCheckTest, OfOneWithoutAHeaderNothingIsSavedAndANewOneIsMade) {
  Fill(5);
  Damage(0, 64);
  EXPECT_FALSE(InspectDatabase(path_)->empty());
  const auto salvaged = SalvageDatabase(path_);
  ASSERT_TRUE(salvaged.ok()) << salvaged.status();
  EXPECT_EQ(salvaged->rows, 0);
  EXPECT_EQ(Images(), 0u);
}

}  // namespace
}  // namespace berth::store
