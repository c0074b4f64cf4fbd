#include "lib/container/mapped_volumes.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/netns/namespace.h"

namespace berth::container {

namespace {

bool HasMapsOfPod(const model::MountSpec& mount, const model::SandboxRecord& sandbox) {
  const model::NamespaceOptions& pod = sandbox.spec.namespaces;
  return pod.user == model::NamespaceMode::kPod && mount.uid_mappings == pod.uids &&
         mount.gid_mappings == pod.gids;
}

absl::StatusOr<base::UniqueFd> UserNamespaceFor(const base::OpContext& ctx,
                                                const VolumeMapper& mapper,
                                                const model::SandboxRecord& sandbox,
                                                const model::MountSpec& mount) {
  if (HasMapsOfPod(mount, sandbox)) {
    return netns::OpenNamespace(
        netns::PinPath(mapper.paths.Namespaces(sandbox.id), netns::NamespaceType::kUser));
  }
  return mapper.pauses.MakeUserNamespace(ctx, {mount.uid_mappings, mount.gid_mappings});
}

// A place for a mount of `source`: a directory, or an empty file.
absl::Status MakePlace(const std::string& source, const std::string& target) {
  struct stat st;
  if (::stat(source.c_str(), &st) != 0) {
    return base::ErrnoStatus(errno, fmt::format("look at '{}'", source));
  }
  if (S_ISDIR(st.st_mode)) {
    return base::MakeDirs(target, 0700);
  }
  RETURN_IF_ERROR(base::MakeDirs(target.substr(0, target.rfind('/')), 0700));
  return base::OpenFile(target, O_RDONLY | O_CREAT | O_NOFOLLOW, 0600).status();
}

absl::Status MapOne(const base::OpContext& ctx, const VolumeMapper& mapper,
                    const model::SandboxRecord& sandbox, const std::string& target,
                    model::MountSpec& mount) {
  if (!mount.image.empty()) {
    return HasMapsOfPod(mount, sandbox)
               ? absl::OkStatus()  // its layers are mapped as the pod's
               : absl::InvalidArgumentError(
                     "the uidMappings and gidMappings of an image must be those of the pod's user "
                     "namespace");
  }
  ASSIGN_OR_RETURN(const base::UniqueFd user, UserNamespaceFor(ctx, mapper, sandbox, mount));
  RETURN_IF_ERROR(MakePlace(mount.host_path, target));
  RETURN_IF_ERROR(mapper.mounter.MountIdMapped(
      {.source = mount.host_path,
       .target = target,
       .user_namespace_fd = user.get(),
       .recursive = true,
       .is_slave = mount.propagation == model::MountPropagation::kHostToContainer}));
  mount.host_path = target;
  return absl::OkStatus();
}

}  // namespace

absl::Status MapVolumes(const base::OpContext& ctx, const VolumeMapper& mapper,
                        const model::SandboxRecord& sandbox, const model::ContainerId& id,
                        std::vector<model::MountSpec>& mounts) {
  for (size_t i = 0; i < mounts.size(); ++i) {
    if (mounts[i].uid_mappings.empty()) {
      continue;
    }
    RETURN_IF_ERROR(
        base::Annotate(MapOne(ctx, mapper, sandbox, mapper.paths.Volume(id, i), mounts[i]),
                       fmt::format("mount on '{}'", mounts[i].container_path)));
  }
  return absl::OkStatus();
}

}  // namespace berth::container
