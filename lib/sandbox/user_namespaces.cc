#include "lib/sandbox/user_namespaces.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/mount/syscall_mounter.h"

namespace berth::sandbox {

namespace {

constexpr absl::Duration kBudget = absl::Seconds(10);

absl::Status Unable(const absl::Status& cause) {
  return cause.ok() ? cause
                    : base::Annotate(absl::FailedPreconditionError(cause.message()),
                                     "this node cannot make user namespaces for pods");
}

}  // namespace

absl::Status UserNamespaces::ForPods() {
  std::call_once(probed_, [this] { Probe(); });
  return pods_;
}

absl::Status UserNamespaces::ForVolumes() {
  std::call_once(probed_, [this] { Probe(); });
  return volumes_;
}

void UserNamespaces::Probe() {
  const model::IdMapping some = {.host_id = 100000, .container_id = 0, .length = 65536};
  const absl::StatusOr<base::UniqueFd> fd =
      pauses_.MakeUserNamespace(base::OpContext::WithTimeout(kBudget), {{some}, {some}});
  pods_ = volumes_ = Unable(fd.status());
  if (fd.ok()) {
    // What a killed daemon left here was mounted for itself alone.
    pods_ = base::RemoveTree(paths_.Probe());
    if (pods_.ok()) {
      pods_ = mount::RunInPrivateMounts([&] { return TryPods(fd->get()); });
      volumes_ = mount::RunInPrivateMounts([&] { return TryVolumes(fd->get()); });
    }
    pods_.Update(base::RemoveTree(paths_.Probe()));
    pods_ = Unable(pods_);
    volumes_ = Unable(volumes_);
  }
  if (!pods_.ok() || !volumes_.ok()) {
    base::Log("sandbox").info("no user namespaces: pods=\"{}\" volumes=\"{}\"", pods_.ToString(),
                              volumes_.ToString());
  }
}

absl::Status UserNamespaces::TryPods(int user_namespace_fd) {
  const std::string view = paths_.Probe() + "/layers";
  RETURN_IF_ERROR(base::MakeDirs(view, 0700));
  RETURN_IF_ERROR(mounter_.MountIdMapped({.source = paths_.Layers(),
                                          .target = view,
                                          .user_namespace_fd = user_namespace_fd,
                                          .read_only = true}));
  return snapshotter_.MountRootfs(base::OpContext::WithTimeout(kBudget),
                                  {.layers = {},
                                   .layers_view = view,
                                   .upper = paths_.Probe() + "/upper",
                                   .work = paths_.Probe() + "/work",
                                   .target = paths_.Probe() + "/rootfs"});
}

absl::Status UserNamespaces::TryVolumes(int user_namespace_fd) {
  const std::string memory = paths_.Probe() + "/memory";
  RETURN_IF_ERROR(base::MakeDirs(memory, 0700));
  RETURN_IF_ERROR(mounter_.Mount({.source = "tmpfs", .target = memory, .fstype = "tmpfs"}));
  return mounter_.MountIdMapped(
      {.source = memory, .target = memory, .user_namespace_fd = user_namespace_fd});
}

}  // namespace berth::sandbox
