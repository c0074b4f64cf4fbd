#include "lib/spec/edits.h"

#include <sys/stat.h>

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::spec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EditsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-edits-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }
  absl::StatusOr<std::vector<Device>> Prepare() { return PrepareEdits(edits_, user_, dir_); }
  std::string Refusal(absl::StatusCode code) {
    const absl::Status status = Prepare().status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

  std::string dir_;
  model::ContainerEdits edits_;
  model::ContainerUser user_ = {.uid = 1000, .gid = 2000, .supplemental_groups = {44}};
};

TEST_F(EditsTest, TheHostTellsWhatIsLeftOut) {
  edits_.devices = {{.container_path = "/dev/./mine", .host_path = "/dev/null", .access = "r"}};
  const auto devices = Prepare();
  ASSERT_TRUE(devices.ok()) << devices.status();
  const Device& device = devices->at(0);
  EXPECT_EQ(device.container_path, "/dev/mine");
  EXPECT_EQ(device.host.type, 'c');
  EXPECT_EQ(device.host.major, 1);
  EXPECT_EQ(device.host.minor, 3);
  EXPECT_EQ(device.host.mode, 0666u);
  EXPECT_EQ(device.host.uid, 1000u);
  EXPECT_EQ(device.host.gid, 2000u);
  EXPECT_EQ(device.access, "r");
}

TEST_F(EditsTest, ANodeSaidInFullNeedNotExist) {
  edits_.devices = {{.container_path = "/dev/absent",
                     .type = 'b',
                     .major = 8,
                     .minor = 1,
                     .mode = 0640,
                     .uid = 0,
                     .gid = 6,
                     .access = "rwm"}};
  const auto devices = Prepare();
  ASSERT_TRUE(devices.ok()) << devices.status();
  const HostDevice& host = devices->at(0).host;
  EXPECT_EQ(host.type, 'b');
  EXPECT_EQ(host.major, 8);
  EXPECT_EQ(host.mode, 0640u);
  EXPECT_EQ(host.uid, 0u);
  EXPECT_EQ(host.gid, 6u);
}

TEST_F(EditsTest, OfTwoNodesOnAPathTheLaterCounts) {
  edits_.devices = {{.container_path = "/dev/x", .host_path = "/dev/null", .access = "r"},
                    {.container_path = "/dev/x", .host_path = "/dev/zero", .access = "w"}};
  const auto devices = Prepare();
  ASSERT_TRUE(devices.ok()) << devices.status();
  ASSERT_EQ(devices->size(), 1u);
  EXPECT_EQ(devices->at(0).host.minor, 5);
}

TEST_F(EditsTest, NodesThatAreNone) {
  edits_.devices = {{.container_path = "/dev/absent"}};
  EXPECT_THAT(Refusal(absl::StatusCode::kNotFound),
              HasSubstr("CDI device node '/dev/absent': find '/dev/absent' on the node"));
  edits_.devices = {{.container_path = "/dev/x", .host_path = "/dev/null", .type = 'b'}};
  EXPECT_THAT(Refusal(absl::StatusCode::kInvalidArgument), HasSubstr("not a device of that type"));
  edits_.devices = {{.container_path = "/dev/x", .host_path = dir_}};
  EXPECT_THAT(Refusal(absl::StatusCode::kInvalidArgument), HasSubstr("not a device"));
}

TEST_F(EditsTest, FifosAreDevicesToo) {
  const std::string path = dir_ + "/fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  edits_.devices = {{.container_path = "/dev/fifo", .host_path = path}};
  const auto devices = Prepare();
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_EQ(devices->at(0).host.type, 'p');
  EXPECT_EQ(devices->at(0).host.mode, 0600u);
}

TEST_F(EditsTest, SourcesOfMountsMustBeThere) {
  edits_.mounts = {{"tmpfs", "/scratch", "tmpfs", {}}, {dir_, "/data", "", {"ro"}}};
  EXPECT_TRUE(Prepare().ok());
  edits_.mounts.push_back({dir_ + "/absent", "/more", "none", {"rbind"}});
  EXPECT_THAT(Refusal(absl::StatusCode::kNotFound), HasSubstr("CDI mount on '/more'"));
}

TEST_F(EditsTest, RdtNeedsResctrl) {
  edits_.intel_rdt = model::IntelRdt{};
  EXPECT_THAT(Refusal(absl::StatusCode::kFailedPrecondition), HasSubstr("resctrl"));
  ASSERT_TRUE(base::MakeDirs(dir_ + "/fs/resctrl").ok());
  ASSERT_TRUE(base::WriteFile(dir_ + "/fs/resctrl/schemata", "", 0600).ok());
  EXPECT_TRUE(Prepare().ok());
}

TEST_F(EditsTest, GroupsAreAddedOnce) {
  edits_.additional_gids = {44, 107, 107};
  ASSERT_TRUE(Prepare().ok());
  EXPECT_THAT(user_.supplemental_groups, ElementsAre(44, 107));
}

}  // namespace
}  // namespace berth::spec
