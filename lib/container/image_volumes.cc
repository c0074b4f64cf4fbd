#include "lib/container/image_volumes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <set>

#include "fmt/format.h"

#include "lib/base/beneath.h"
#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::container {

namespace {

// Kubernetes cri-api pkg/errors.
constexpr std::string_view kMountFailed = "ImageVolumeMountFailed";

absl::Status Failed(const absl::Status& status, const model::MountSpec& mount) {
  return base::WithReason(base::Annotate(status, fmt::format("image volume '{}' on '{}'",
                                                             mount.image, mount.container_path)),
                          kMountFailed);
}

// Nothing in the volume can change, so the name that a descriptor has now stays true and holds no
// symlink.
absl::StatusOr<std::string> NameOf(const base::UniqueFd& fd) {
  char name[PATH_MAX];
  const ssize_t size =
      ::readlink(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), name, sizeof(name));
  if (size < 0 || static_cast<size_t>(size) >= sizeof(name)) {
    return base::ErrnoStatus(size < 0 ? errno : ENAMETOOLONG, "find the name of the sub path");
  }
  return std::string(name, static_cast<size_t>(size));
}

absl::StatusOr<std::string> ResolveSubPath(const std::string& root, const std::string& sub_path) {
  ASSIGN_OR_RETURN(const base::UniqueFd root_fd, base::OpenFile(root, O_PATH | O_DIRECTORY));
  const absl::StatusOr<base::UniqueFd> fd = base::OpenInRoot(root_fd.get(), sub_path, O_PATH);
  if (absl::IsNotFound(fd.status())) {
    return absl::NotFoundError(fmt::format("there is no '{}' in the image", sub_path));
  }
  RETURN_IF_ERROR(fd.status());
  struct stat st;
  if (::fstat(fd->get(), &st) != 0) {
    return base::ErrnoStatus(errno, fmt::format("stat '{}'", sub_path));
  }
  if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' of the image is neither a directory nor a regular file", sub_path));
  }
  return NameOf(*fd);
}

}  // namespace

absl::StatusOr<VolumeLeases> LeaseVolumes(image::ImageService& images,
                                          const std::vector<model::MountSpec>& mounts) {
  VolumeLeases leases;
  for (const model::MountSpec& mount : mounts) {
    image::ImageLease& lease = leases.emplace_back();
    if (mount.image.empty()) {
      continue;
    }
    absl::StatusOr<image::ImageLease> used = images.Use(mount.image);
    RETURN_IF_ERROR(
        base::Annotate(used.status(), fmt::format("image volume on '{}'", mount.container_path)));
    lease = *std::move(used);
  }
  return leases;
}

std::vector<int64_t> LayersOf(const VolumeLeases& leases) {
  std::set<int64_t> layers;
  for (const image::ImageLease& lease : leases) {
    if (lease) {
      layers.insert(lease.image().layers.begin(), lease.image().layers.end());
    }
  }
  return {layers.begin(), layers.end()};
}

absl::Status MountVolumes(const base::OpContext& ctx, snapshot::OverlaySnapshotter& snapshotter,
                          const store::Paths& paths, const model::ContainerId& id,
                          const VolumeLeases& leases, const VolumeOptions& options) {
  for (size_t i = 0; i < leases.size(); ++i) {
    if (!leases[i]) {
      continue;
    }
    const absl::Status status = snapshotter.MountVolume(ctx, {.layers = leases[i].image().layers,
                                                              .layers_view = options.layers_view,
                                                              .target = paths.Volume(id, i),
                                                              .option = options.option});
    if (!status.ok()) {
      return base::WithReason(status, kMountFailed);
    }
  }
  return absl::OkStatus();
}

absl::Status ResolveVolumes(const store::Paths& paths, const model::ContainerId& id,
                            std::vector<model::MountSpec>& mounts) {
  for (size_t i = 0; i < mounts.size(); ++i) {
    model::MountSpec& mount = mounts[i];
    if (mount.image.empty()) {
      continue;
    }
    mount.host_path = paths.Volume(id, i);
    if (mount.image_sub_path.empty()) {
      continue;
    }
    absl::StatusOr<std::string> path = ResolveSubPath(mount.host_path, mount.image_sub_path);
    if (!path.ok()) {
      return Failed(path.status(), mount);
    }
    mount.host_path = *std::move(path);
  }
  return absl::OkStatus();
}

absl::Status UnmountVolumes(snapshot::OverlaySnapshotter& snapshotter, const store::Paths& paths,
                            const model::ContainerRecord& record) {
  for (size_t i = 0; i < record.spec.mounts.size(); ++i) {
    const model::MountSpec& mount = record.spec.mounts[i];
    if (!mount.image.empty() || !mount.uid_mappings.empty()) {
      RETURN_IF_ERROR(snapshotter.UnmountVolume(paths.Volume(record.id, i)));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::container
