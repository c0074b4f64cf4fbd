#include "lib/container/image_volumes.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/mount/testing/fake_mounter.h"

namespace berth::container {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ImageVolumesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-volumes-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    paths_.emplace(dir_ + "/root", dir_ + "/state");
    snapshotter_.emplace(paths_->Layers(), mounter_);
    ASSERT_TRUE(snapshotter_->Prepare().ok());
    record_.id = model::ContainerId(std::string(64, 'c'));
    record_.spec.mounts = {{.container_path = "/data", .host_path = "/mnt"},
                           {.container_path = "/model", .image = "model:1"},
                           {.container_path = "/more", .image = "more:1"}};
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  std::string Volume(size_t mount) { return paths_->Volume(record_.id, mount); }
  static image::ImageLease Lease(std::vector<int64_t> layers) {
    auto image = std::make_shared<model::ImageRecord>();
    image->layers = std::move(layers);
    return image::ImageLease(std::move(image), nullptr);
  }
  absl::Status Mount(const VolumeLeases& leases) {
    return MountVolumes(base::OpContext::Background(), *snapshotter_, *paths_, record_.id, leases);
  }
  // Where the second mount comes from with this sub path.
  absl::StatusOr<std::string> Resolve(const std::string& sub_path) {
    std::vector<model::MountSpec> mounts = record_.spec.mounts;
    mounts[1].image_sub_path = sub_path;
    RETURN_IF_ERROR(ResolveVolumes(*paths_, record_.id, mounts));
    EXPECT_EQ(mounts[0].host_path, "/mnt");
    EXPECT_EQ(mounts[2].host_path, Volume(2));
    return mounts[1].host_path;
  }

  std::string dir_;
  std::optional<store::Paths> paths_;
  mount::FakeMounter mounter_;
  std::optional<snapshot::OverlaySnapshotter> snapshotter_;
  model::ContainerRecord record_;
};

TEST_F(ImageVolumesTest, EachIsMountedAtThePlaceOfItsMount) {
  for (const int64_t layer : {3, 4, 5}) {
    ASSERT_TRUE(snapshotter_->NewLayerDir(layer).ok());
  }
  const VolumeLeases leases = {{}, Lease({5, 3}), Lease({4, 3})};
  EXPECT_THAT(LayersOf(leases), ElementsAre(3, 4, 5));
  ASSERT_TRUE(Mount(leases).ok());
  EXPECT_THAT(mounter_.table(), ElementsAre(Volume(1), Volume(2)));
  for (const mount::MountRequest& request : mounter_.requests()) {
    EXPECT_EQ(request.flags, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC) << request.options;
  }
  // From the record alone, as often as need be.
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(UnmountVolumes(*snapshotter_, *paths_, record_).ok());
    EXPECT_THAT(mounter_.table(), IsEmpty());
  }
}

TEST_F(ImageVolumesTest, AFailureSaysWhatTheKubeletKnows) {
  const absl::Status status = Mount({{}, Lease({7}), {}});
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_EQ(base::GetReason(status), "ImageVolumeMountFailed");
  ASSERT_TRUE(UnmountVolumes(*snapshotter_, *paths_, record_).ok());
}

TEST_F(ImageVolumesTest, SubPathsStayInTheImage) {
  const std::string root = Volume(1);
  ASSERT_TRUE(base::MakeDirs(root + "/sub/deep", 0755).ok());
  ASSERT_TRUE(base::MakeDirs(root + "/etc", 0755).ok());
  ASSERT_TRUE(base::WriteFile(root + "/etc/passwd", "the image's", 0644).ok());
  const auto link = [&](const char* name, const char* target) {
    ASSERT_EQ(::symlink(target, (root + "/" + name).c_str()), 0);
  };
  link("absolute", "/sub/deep");
  link("climbs", "../../../../../../../../etc/passwd");
  link("host-only", "/proc/self");
  link("loop", "loop");
  ASSERT_EQ(::mkfifo((root + "/pipe").c_str(), 0600), 0);

  EXPECT_EQ(*Resolve(""), root);
  EXPECT_EQ(*Resolve("sub//deep/"), root + "/sub/deep");
  EXPECT_EQ(*Resolve("absolute"), root + "/sub/deep");
  EXPECT_EQ(*Resolve("climbs"), root + "/etc/passwd");
  // Refused before it comes here, and harmless all the same.
  EXPECT_EQ(*Resolve("../../../etc/passwd"), root + "/etc/passwd");

  struct {
    const char* sub_path;
    absl::StatusCode code;
    const char* text;
  } refusals[] = {
      {"absent", absl::StatusCode::kNotFound, "there is no 'absent' in the image"},
      {"host-only", absl::StatusCode::kNotFound, "there is no 'host-only' in the image"},
      {"pipe", absl::StatusCode::kInvalidArgument, "neither a directory nor a regular file"},
      {"loop", absl::StatusCode::kPermissionDenied, "leads out of its root"},
  };
  for (const auto& refusal : refusals) {
    const absl::Status status = Resolve(refusal.sub_path).status();
    EXPECT_EQ(status.code(), refusal.code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(refusal.text));
    EXPECT_THAT(std::string(status.message()), HasSubstr("image volume 'model:1' on '/model'"));
    EXPECT_EQ(base::GetReason(status), "ImageVolumeMountFailed");
  }
}

}  // namespace
}  // namespace berth::container
