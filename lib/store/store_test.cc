#include <sys/stat.h>

#include <cstdlib>

#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/store/database.h"
#include "lib/store/image_store.h"
#include "lib/store/paths.h"
#include "lib/store/record_store.h"

namespace berth::store {
namespace {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-store-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    Reopen();
  }
  void TearDown() override {
    db_.reset();
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }
  void Reopen() {
    db_.reset();
    auto db = Database::Open(dir_ + "/berth.db");
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
  }
  std::string dir_;
  std::unique_ptr<Database> db_;
};

ImageStore::Publication Image(const std::string& id, std::vector<LayerRecord> layers,
                              std::vector<std::string> tags) {
  return {.image_id = id,
          .config = "{}",
          .created_ns = 5,
          .layers = std::move(layers),
          .repo_tags = std::move(tags),
          .repo_digests = {"repo@sha256:" + id}};
}

TEST_F(StoreTest, RecordsSurviveReopeningAndNamesAreUnique) {
  model::SandboxRecord sandbox;
  sandbox.id = model::SandboxId::Generate();
  sandbox.spec.name = "a";
  model::ContainerRecord container;
  container.id = model::ContainerId::Generate();
  container.full_name = "k8s_c";
  {
    RecordStore records(*db_);
    ASSERT_TRUE(records.Put(sandbox).ok());
    sandbox.state = model::SandboxState::kReady;
    ASSERT_TRUE(records.Put(sandbox).ok());
    ASSERT_TRUE(records.Put(container).ok());
    model::ContainerRecord twin = container;
    twin.id = model::ContainerId::Generate();
    EXPECT_TRUE(absl::IsAlreadyExists(records.Put(twin)));
  }
  Reopen();
  RecordStore records(*db_);
  auto all = records.Load();
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->sandboxes.size(), 1u);
  EXPECT_EQ(all->sandboxes[0].state, model::SandboxState::kReady);
  ASSERT_EQ(all->containers.size(), 1u);
  EXPECT_TRUE(records.Remove(sandbox.id).ok());
  EXPECT_TRUE(records.Remove(sandbox.id).ok());
  EXPECT_TRUE(records.Remove(container.id).ok());
  EXPECT_TRUE(records.Load()->containers.empty());
}

TEST_F(StoreTest, UnreadableRecordsAreNamedNotFatal) {
  ASSERT_TRUE(
      db_->Transact(
             Durability::kCrash,
             [](Database& db) {
               return db.Prepare("INSERT INTO containers VALUES('broken', 'n', x'ff')")->Run();
             })
          .ok());
  auto all = RecordStore(*db_).Load();
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->unreadable.size(), 1u);
  EXPECT_NE(all->unreadable[0].find("broken"), std::string::npos);
}

TEST_F(StoreTest, LayersAreSharedAndCollected) {
  ImageStore images(*db_);
  const int64_t one = *images.ReserveLayer("sha256:1");
  const int64_t two = *images.ReserveLayer("sha256:2");
  EXPECT_TRUE(absl::IsNotFound(images.FindLayer("sha256:1").status()));
  ASSERT_TRUE(
      images.Publish(Image("aa", {{one, "sha256:1", 10, 1}, {two, "sha256:2", 20, 2}}, {"r:1"}))
          .ok());
  EXPECT_EQ(images.FindLayer("sha256:1")->size_bytes, 10u);
  ASSERT_TRUE(images.Publish(Image("bb", {{one, "sha256:1", 10, 1}}, {"r:1", "r:2"})).ok());
  auto list = images.Load();
  ASSERT_EQ(list->size(), 2u);
  for (const auto& image : *list) {
    if (image.id == "aa") {
      EXPECT_TRUE(image.repo_tags.empty());
      EXPECT_EQ(image.layers, (std::vector<int64_t>{two, one}));
      EXPECT_EQ(image.diff_ids, (std::vector<std::string>{"sha256:1", "sha256:2"}));
      EXPECT_EQ(image.size_bytes, 32u);
    } else {
      EXPECT_EQ(image.repo_tags, (std::vector<std::string>{"r:1", "r:2"}));
    }
  }
  ASSERT_TRUE(images.RemoveImage("aa").ok());
  EXPECT_TRUE(images.CollectLayers({two})->empty());
  EXPECT_EQ(*images.CollectLayers({}), (std::vector<LayerRecord>{{two, "sha256:2", 20, 2}}));
  ASSERT_TRUE(images.Flush().ok());
  EXPECT_GT(*images.ReserveLayer("sha256:2"), two);
}

TEST_F(StoreTest, TheSecondPullOfALayerIsTold) {
  ImageStore images(*db_);
  const int64_t first = *images.ReserveLayer("sha256:1");
  const int64_t second = *images.ReserveLayer("sha256:1");
  ASSERT_TRUE(images.Publish(Image("aa", {{first, "sha256:1", 1, 1}}, {})).ok());
  EXPECT_TRUE(absl::IsAborted(images.Publish(Image("bb", {{second, "sha256:1", 1, 1}}, {}))));
  EXPECT_TRUE(absl::IsAborted(images.Publish(Image("cc", {{999, "sha256:9", 1, 1}}, {}))));
  EXPECT_EQ(images.Load()->size(), 1u);
  EXPECT_EQ(*images.ForgetReserved(), std::set<int64_t>{first});
}

TEST_F(StoreTest, LayersThatAreNotOnTheDiskYet) {
  ImageStore images(*db_);
  const int64_t one = *images.ReserveLayer("sha256:1");
  const int64_t two = *images.ReserveLayer("sha256:2");
  ImageStore::Publication a = Image("aa", {{one, "sha256:1", 1, 1}}, {"a:1"});
  a.boot_id = "boot-1";
  ASSERT_TRUE(images.Publish(a).ok());
  ImageStore::Publication b = Image("bb", {{one, "sha256:1", 1, 1}, {two, "sha256:2", 1, 1}}, {});
  b.boot_id = "boot-2";
  ASSERT_TRUE(images.Publish(b).ok());
  using Pending = std::map<int64_t, std::string>;
  EXPECT_EQ(*images.PendingLayers(), (Pending{{one, "boot-1"}, {two, "boot-2"}}))
      << "a shared layer stays as it is";
  ASSERT_TRUE(images.MarkDurable({{one, "boot-1"}, {two, "another boot"}}).ok());
  Reopen();
  ImageStore again(*db_);
  EXPECT_EQ(*again.PendingLayers(), (Pending{{two, "boot-2"}}));
  EXPECT_EQ(*again.FailPending(), std::vector<std::string>{"bb"});
  EXPECT_EQ(again.Load()->size(), 1u) << "'aa' has no layer that failed";
  EXPECT_TRUE(absl::IsNotFound(again.FindLayer("sha256:2").status()));
  EXPECT_EQ(again.CollectLayers({})->at(0).number, two);
  ASSERT_TRUE(again.Publish(Image("dd", {{one, "sha256:1", 1, 1}}, {})).ok());
  EXPECT_TRUE(again.PendingLayers()->empty());
}

// What version 1 published was on the disk.
TEST_F(StoreTest, ADatabaseOfVersion1IsBroughtUpToDate) {
  ASSERT_TRUE(db_->Transact(Durability::kCrash,
                            [](Database& db) -> absl::Status {
                              for (const char* sql :
                                   {"ALTER TABLE layers DROP COLUMN boot_id",
                                    "ALTER TABLE images DROP COLUMN manifest",
                                    "ALTER TABLE images DROP COLUMN artifact",
                                    "INSERT INTO layers VALUES(7, 'sha256:7', 1, 70, 8)",
                                    "INSERT INTO images VALUES('aa', '{}', 5)",
                                    "INSERT INTO image_layers VALUES('aa', 0, 7)",
                                    "INSERT INTO image_names VALUES('r:1', 'aa')",
                                    "PRAGMA user_version=1"}) {
                                auto statement = db.Prepare(sql);
                                if (!statement.ok()) {
                                  return statement.status();
                                }
                                if (absl::Status status = statement->Run(); !status.ok()) {
                                  return status;
                                }
                              }
                              return absl::OkStatus();
                            })
                  .ok());
  Reopen();
  ImageStore images(*db_);
  EXPECT_TRUE(images.PendingLayers()->empty());
  EXPECT_EQ(*images.FindLayer("sha256:7"), (LayerRecord{7, "sha256:7", 70, 8}));
  ASSERT_EQ(images.Load()->size(), 1u);
  EXPECT_EQ(images.Load()->at(0).repo_tags, std::vector<std::string>{"r:1"});
  const int64_t next = *images.ReserveLayer("sha256:8");
  EXPECT_EQ(next, 8);
}

TEST_F(StoreTest, TheLogIsFoldedInWhileItIsInUse) {
  RecordStore records(*db_);
  model::SandboxRecord sandbox;
  sandbox.id = model::SandboxId::Generate();
  sandbox.spec.annotations["filler"] = std::string(100000, 'x');
  for (int i = 0; i < 200; ++i) {
    sandbox.created_ns = i;
    ASSERT_TRUE(records.Put(sandbox).ok());
  }
  // 200 records of 25 pages without a checkpoint would be 20 MB; destroying the database waits for
  // a running one.
  const auto log = base::ReadFile(dir_ + "/berth.db-wal", 64 << 20);
  ASSERT_TRUE(log.ok());
  EXPECT_LT(log->size(), 15u << 20);
  Reopen();
  EXPECT_EQ(RecordStore(*db_).Load()->sandboxes[0].created_ns, 199);
}

TEST_F(StoreTest, NewerSchemaIsRefused) {
  ASSERT_TRUE(
      db_->Transact(Durability::kCrash,
                    [](Database& db) { return db.Prepare("PRAGMA user_version=99")->Run(); })
          .ok());
  db_.reset();
  EXPECT_TRUE(absl::IsFailedPrecondition(Database::Open(dir_ + "/berth.db").status()));
}

TEST_F(StoreTest, DamagedFileIsDataLoss) {
  db_.reset();
  ASSERT_TRUE(base::WriteFile(dir_ + "/bad.db", std::string(8192, 'x'), 0600).ok());
  EXPECT_TRUE(absl::IsDataLoss(Database::Open(dir_ + "/bad.db").status()));
}

TEST(LogPathTest, StaysInItsDirectory) {
  EXPECT_EQ(*LogPath("/var/log/pods/a", "c/0.log"), "/var/log/pods/a/c/0.log");
  EXPECT_EQ(*LogPath("/var/log/pods/a/", "0.log"), "/var/log/pods/a/0.log");
  EXPECT_EQ(*LogPath("", "0.log"), "");
  EXPECT_EQ(*LogPath("/x", ""), "");
  for (const char* path : {"../b", "a/../../b", "/etc/passwd", "a/.."}) {
    EXPECT_TRUE(absl::IsInvalidArgument(LogPath("/var/log", path).status())) << path;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(LogPath("relative", "a").status()));
}

// A full disk: what is there must be removable.
TEST_F(StoreTest, TheLogKeepsItsRoom) {
  const auto check = [&](const char* when) {
    struct stat st;
    ASSERT_EQ(::stat((dir_ + "/berth.db-wal").c_str(), &st), 0) << when;
    EXPECT_GE(st.st_blocks * 512, 8 << 20) << when;
    EXPECT_NE(::stat((dir_ + "/berth.db-shm").c_str(), &st), 0) << when;
  };
  check("new");
  ImageStore store(*db_);
  for (int i = 0; i < 3000; ++i) {  // some checkpoints
    ASSERT_TRUE(store.ReserveLayer("sha256:" + std::to_string(i)).ok());
  }
  check("used");
  Reopen();
  check("opened again");
  ASSERT_TRUE(ImageStore(*db_).ReserveLayer("sha256:x").ok());
  db_.reset();
  check("closed");
}

}  // namespace
}  // namespace berth::store
