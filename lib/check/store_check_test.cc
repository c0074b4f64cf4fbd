#include "lib/check/store_check.h"

#include <cstdlib>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/check/survey.h"
#include "lib/mount/testing/fake_mounter.h"
#include "lib/oci/sha256.h"

namespace berth::check {
namespace {

class StoreCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-check-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    paths_.emplace(dir_ + "/root", dir_ + "/state");
    for (const std::string& made :
         {paths_->Layers() + "/0", paths_->ContainersRoot(), paths_->ContainersState(),
          paths_->SandboxesState(), paths_->NamespacesState()}) {
      ASSERT_TRUE(base::MakeDirs(made).ok());
    }
    auto db = store::Database::Open(paths_->Database());
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
    images_.emplace(*db_);
    records_.emplace(*db_);
    Mountinfo({});
  }
  void TearDown() override {
    db_.reset();
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  // An image with one layer, whole in every way.
  int64_t AddImage(const std::string& name) {
    const std::string diff_id = oci::DigestOf(name).ToString();
    const std::string config = fmt::format(
        R"({{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{}"]}}}})",
        diff_id);
    const int64_t number = *images_->ReserveLayer(diff_id);
    EXPECT_TRUE(base::MakeDirs(paths_->Layer(number)).ok());
    EXPECT_TRUE(base::WriteFile(paths_->Layer(number) + "/file", name, 0644).ok());
    EXPECT_TRUE(images_
                    ->Publish({.image_id = oci::DigestOf(config).hex(),
                               .config = config,
                               .layers = {{.number = number}},
                               .repo_tags = {"docker.io/library/" + name + ":1"},
                               .repo_digests = {}})
                    .ok());
    return number;
  }
  model::ContainerRecord AddContainer(std::vector<int64_t> layers) {
    model::SandboxRecord sandbox;
    sandbox.id = model::SandboxId::Generate();
    sandbox.spec.name = sandbox.id.value();
    model::ContainerRecord container;
    container.id = model::ContainerId::Generate();
    container.full_name = container.id.value();
    container.sandbox_id = sandbox.id;
    container.layers = std::move(layers);
    container.created_ns = 1;
    EXPECT_TRUE(records_->Put(sandbox).ok());
    EXPECT_TRUE(records_->Put(container).ok());
    EXPECT_TRUE(base::MakeDirs(paths_->Upper(container.id)).ok());
    return container;
  }
  void Mountinfo(const std::vector<std::pair<std::string, std::string>>& mounts) {
    std::string text;
    for (const auto& [place, options] : mounts) {
      text += fmt::format("30 1 0:30 / {} rw - overlay overlay {}\n", place, options);
      ASSERT_TRUE(mounter_.Mount({.source = "overlay", .target = place}).ok());
    }
    ASSERT_TRUE(base::WriteFile(dir_ + "/mountinfo", text, 0644).ok());
  }
  void Sql(const std::string& text) {
    const absl::Status status =
        db_->Transact(store::Durability::kCrash, [&](store::Database& db) -> absl::Status {
          ASSIGN_OR_RETURN(store::Statement statement, db.Prepare(text));
          return statement.Run();
        });
    ASSERT_TRUE(status.ok()) << status;
  }
  CheckDeps Deps() {
    return {.paths = *paths_,
            .database = *db_,
            .images = *images_,
            .records = *records_,
            .mounter = mounter_,
            .forget = [this](const std::set<int64_t>& layers,
                             const std::set<std::string>& ids) -> absl::Status {
              RETURN_IF_ERROR(images_->CondemnLayers(layers).status());
              for (const std::string& id : ids) {
                RETURN_IF_ERROR(images_->RemoveImage(id));
              }
              return absl::OkStatus();
            },
            .mountinfo = dir_ + "/mountinfo"};
  }
  Report Check(CheckOptions options = {}) {
    const auto report = CheckStore(base::OpContext::Background(), Deps(), options);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(Report());
  }
  // Finds exactly one problem, and after a repair none.
  void FindsAndRepairs(const std::string& kind, const std::string& object,
                       const std::string& text) {
    const Report found = Check();
    ASSERT_EQ(found.problems.size(), 1u) << object;
    EXPECT_EQ(found.problems[0].kind, kind);
    EXPECT_EQ(found.problems[0].object, object);
    EXPECT_NE(found.problems[0].text.find(text), std::string::npos) << found.problems[0].text;
    EXPECT_EQ(found.Left(), 1u);
    const Report repaired = Check({.repair = true});
    EXPECT_EQ(repaired.problems.size(), 1u);
    EXPECT_EQ(repaired.Left(), 0u) << repaired.problems[0].advice;
    EXPECT_EQ(Check().Left(), 0u);
  }

  std::string dir_;
  std::optional<store::Paths> paths_;
  mount::FakeMounter mounter_;
  std::unique_ptr<store::Database> db_;
  std::optional<store::ImageStore> images_;
  std::optional<store::RecordStore> records_;
};

TEST_F(StoreCheckTest, AWholeStoreHasNoProblems) {
  const int64_t layer = AddImage("a");
  AddImage("b");
  const model::ContainerRecord container = AddContainer({layer});
  Mountinfo({{paths_->Rootfs(container.id), "rw,lowerdir=1"},
             {paths_->Namespace(container.sandbox_id, "net"), "rw"},
             {paths_->root() + "/layers", "rw"},  // a disk of the administrator's
             {"/elsewhere", "rw"}});
  const Report report = Check();
  EXPECT_TRUE(report.problems.empty()) << report.problems[0].object << report.problems[0].text;
  EXPECT_EQ(report.images, 2u);
  EXPECT_EQ(report.layers, 2u);
  EXPECT_EQ(report.containers, 1u);
  EXPECT_EQ(report.pods, 1u);
}

TEST_F(StoreCheckTest, ALostDirectory) {
  const int64_t layer = AddImage("a");
  AddImage("b");
  ASSERT_TRUE(base::RemoveTree(paths_->Layer(layer)).ok());
  const Report found = Check();
  ASSERT_EQ(found.problems.size(), 1u);
  EXPECT_EQ(found.problems[0].kind, kLayer);
  EXPECT_EQ(Check({.repair = true}).Left(), 0u);
  ASSERT_EQ(images_->Load()->size(), 1u);
  EXPECT_FALSE(images_->FindLayer(oci::DigestOf("a").ToString()).ok());
  EXPECT_TRUE(images_->FindLayer(oci::DigestOf("b").ToString()).ok());
}

TEST_F(StoreCheckTest, ALeftoverLayer) {
  ASSERT_TRUE(base::MakeDirs(paths_->Layer(77) + "/deep").ok());
  FindsAndRepairs(kLeftover, paths_->Layer(77), "no layer of the database");
  EXPECT_FALSE(base::PathExists(paths_->Layer(77)));
}

TEST_F(StoreCheckTest, AHalfRemovedLayer) {
  const std::string path = paths_->Layers() + "/removing-5";
  ASSERT_TRUE(base::MakeDirs(path).ok());
  FindsAndRepairs(kLeftover, path, "removal was cut off");
}

TEST_F(StoreCheckTest, TrashIsTheDaemonsWhileItRuns) {
  ASSERT_TRUE(base::MakeDirs(paths_->Trash() + "/5").ok());
  EXPECT_TRUE(Check({.is_live = true, .second_look = absl::ZeroDuration()}).problems.empty());
  FindsAndRepairs(kLeftover, paths_->Trash() + "/5", "removal of a layer was cut off");
}

TEST_F(StoreCheckTest, ARecipeWithoutItsLayer) {
  ASSERT_TRUE(base::MakeDirs(paths_->Recipes()).ok());
  const int64_t layer = AddImage("a");
  ASSERT_TRUE(base::WriteFile(paths_->Recipe(layer), "", 0600).ok());
  ASSERT_TRUE(base::WriteFile(paths_->Recipe(99), "", 0600).ok());
  FindsAndRepairs(kLeftover, paths_->Recipe(99), "its layer is not there");
  EXPECT_TRUE(base::PathExists(paths_->Recipe(layer)));
}

TEST_F(StoreCheckTest, AFlippedByteOfAConfig) {
  AddImage("a");
  const std::string id = images_->Load()->at(0).id;
  Sql("UPDATE images SET config = replace(config, 'amd64', 'amd63')");
  FindsAndRepairs(kImage, id, "its config is not what its id says");
  EXPECT_TRUE(images_->Load()->empty());
}

TEST_F(StoreCheckTest, AFlippedByteOfAName) {
  AddImage("a");
  const std::string id = images_->Load()->at(0).id;
  Sql("UPDATE image_names SET name = 'docker.io/library/a:\x01'");
  FindsAndRepairs(kImage, id, "is none");
}

TEST_F(StoreCheckTest, AnImageThatLacksALayer) {
  AddImage("a");
  const std::string id = images_->Load()->at(0).id;
  Sql("DELETE FROM image_layers");
  FindsAndRepairs(kImage, id, "does not have the layers that its config names");
}

TEST_F(StoreCheckTest, WhatNoContainerOwns) {
  const std::string id(64, 'e');
  for (const std::string& path :
       {paths_->ContainersState() + "/" + id, paths_->ContainersRoot() + "/" + id,
        paths_->SandboxesState() + "/" + id, paths_->NamespacesState() + "/" + id}) {
    ASSERT_TRUE(base::MakeDirs(path).ok());
    FindsAndRepairs(kLeftover, path, "there is no");
    EXPECT_FALSE(base::PathExists(path));
  }
}

TEST_F(StoreCheckTest, MountsOfNobody) {
  const std::string mount = paths_->ContainersState() + "/" + std::string(64, 'e') + "/rootfs";
  Mountinfo({{mount, "rw"}});
  const Report found = Check();
  ASSERT_EQ(found.problems.size(), 1u);
  EXPECT_EQ(found.problems[0].kind, kMount);
  EXPECT_EQ(Check({.repair = true}).Left(), 0u);
  EXPECT_FALSE(*mounter_.IsMountPoint(mount));
  Mountinfo({{paths_->Layer(3) + "/inside", "rw"}});
  EXPECT_EQ(Check().problems.size(), 1u);
}

TEST_F(StoreCheckTest, WhatAContainerStandsOnStays) {
  const int64_t layer = AddImage("a");
  const model::ContainerRecord container = AddContainer({layer});
  ASSERT_TRUE(base::RemoveTree(paths_->Layer(layer)).ok());
  const Report report = Check({.repair = true});
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_NE(report.problems[0].advice.find(container.id.value()), std::string::npos);
  EXPECT_EQ(report.Left(), 1u);
  EXPECT_TRUE(images_->Load()->empty());
  EXPECT_EQ(images_->Layers()->size(), 1u);  // for the container

  // The database does not know this one, but a root file system is made of it.
  ASSERT_TRUE(base::MakeDirs(paths_->Layer(50)).ok());
  Mountinfo({{paths_->Rootfs(container.id), "rw,lowerdir=50:51,upperdir=/u"}});
  const Report again = Check({.repair = true});
  EXPECT_EQ(again.Left(), 2u);  // and the first one, which is there as long as its container
  EXPECT_TRUE(base::PathExists(paths_->Layer(50)));
}

TEST_F(StoreCheckTest, AContainerWithoutItsWritableLayer) {
  const model::ContainerRecord container = AddContainer({});
  ASSERT_TRUE(base::RemoveTree(paths_->ContainerRoot(container.id)).ok());
  const Report report = Check({.repair = true});
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_EQ(report.problems[0].kind, kContainer);
  EXPECT_EQ(report.Left(), 1u);
}

TEST_F(StoreCheckTest, ARecordThatCannotBeRead) {
  AddContainer({});
  Sql("UPDATE containers SET record = x'ff'");
  const Report report = Check({.repair = true});
  ASSERT_GE(report.problems.size(), 1u);
  EXPECT_EQ(report.problems.back().kind, kDatabase);
  EXPECT_GE(report.Left(), 1u);
}

TEST(MountSurveyTest, LayersOfOverlays) {
  const auto survey = SurveyMounts(
      "30 1 0:30 / /s/containers/x/rootfs rw - overlay overlay rw,lowerdir=3:21:/r/layers/4:x,"
      "upperdir=/r/containers/9/upper\n"
      "31 1 0:30 / /s rw - tmpfs tmpfs rw\n"
      "32 1 0:30 / /s/containers/x rw - tmpfs tmpfs rw\n"
      "33 1 0:30 / /other rw - overlay overlay rw,lowerdir=8\n",
      {"/s"});
  ASSERT_TRUE(survey.ok());
  EXPECT_EQ(survey->layers, (std::set<int64_t>{3, 4, 21}));
  EXPECT_EQ(survey->below, (std::vector<std::string>{"/s/containers/x/rootfs", "/s/containers/x"}));
}

}  // namespace
}  // namespace berth::check
