// What a pod has besides its pause: a label, files, and the layers with its own ids.
#include <fcntl.h>
#include <sys/mount.h>

#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/netns/namespace.h"
#include "lib/sandbox/sandbox_files.h"
#include "lib/sandbox/sandbox_service.h"

namespace berth::sandbox {

namespace {

constexpr size_t kMaxResolvConf = 64 << 10;

}  // namespace

// A pod that asks for no level gets one of its own, in its record like one that was asked for.
absl::Status SandboxService::ChooseLabel(model::SandboxSpec& spec) {
  if (!deps_.selinux.in_use()) {
    return absl::OkStatus();
  }
  if (!spec.selinux.level.empty()) {
    deps_.selinux.KeepLevel(spec.selinux.level);
  } else if (OwnsIpc(spec) && spec.namespaces.pid != model::NamespaceMode::kNode) {
    ASSIGN_OR_RETURN(spec.selinux.level, deps_.selinux.TakeLevel());
  }
  const auto check = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const security::SelinuxLabels labels, security::LabelsFor(spec.selinux, {}));
    return labels.process.empty() ? absl::OkStatus() : deps_.selinux.Check(labels.process);
  };
  const absl::Status status = check();
  if (!status.ok()) {
    deps_.selinux.FreeLevel(spec.selinux.level);
  }
  return status;
}

absl::Status SandboxService::WriteFiles(const base::OpContext& ctx,
                                        const model::SandboxRecord& record) {
  const store::Paths& paths = deps_.paths;
  RETURN_IF_ERROR(base::MakeDirs(paths.SandboxState(record.id), 0700));
  ASSIGN_OR_RETURN(std::string resolv_conf, ResolvConf(record.spec.dns));
  if (resolv_conf.empty()) {
    absl::StatusOr<std::string> node = base::ReadFile("/etc/resolv.conf", kMaxResolvConf);
    resolv_conf = node.ok() ? *node : "";  // a node without one has no DNS to hand on
  }
  // Containers read these as any user; the directory itself is the daemon's alone.
  const std::vector<std::pair<std::string, std::string>> files = {
      {paths.ResolvConf(record.id), resolv_conf},
      {paths.Hostname(record.id), record.hostname + "\n"},
      {paths.Containerenv(record.id), ""}};  // by being there it tells that this is a container
  for (const auto& [path, content] : files) {
    RETURN_IF_ERROR(base::WriteFile(path, content, 0644));
  }
  std::string shm_options = fmt::format("mode=1777,size={}", options_.shm_bytes);
  if (OwnsUsers(record.spec)) {
    const base::Owner root = RootOf(record.spec);
    shm_options += fmt::format(",uid={},gid={}", root.uid, root.gid);
    for (const auto& [path, content] : files) {
      RETURN_IF_ERROR(base::GiveTo(root, AT_FDCWD, path));
    }
  }
  if (deps_.selinux.in_use()) {
    ASSIGN_OR_RETURN(const security::SelinuxLabels labels,
                     security::LabelsFor(record.spec.selinux, {}));
    if (!labels.mount.empty()) {
      for (const auto& [path, content] : files) {
        RETURN_IF_ERROR(security::Relabel(ctx, path, labels.mount));
      }
      shm_options += "," + security::ContextOption(labels.mount);
    }
  }
  if (!OwnsIpc(record.spec)) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(base::MakeDirs(paths.Shm(record.id), 0700));
  return deps_.mounter.Mount({.source = "shm",
                              .target = paths.Shm(record.id),
                              .fstype = "tmpfs",
                              .flags = MS_NOSUID | MS_NODEV | MS_NOEXEC,
                              .options = shm_options});
}

// One mount for all containers of the pod, however many layers they have. Read-only: nobody may
// change a layer, and what removes the pod's files must never remove one.
absl::Status SandboxService::MapLayers(const model::SandboxRecord& record) {
  if (!OwnsUsers(record.spec)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const base::UniqueFd user,
                   netns::OpenNamespace(netns::PinPath(deps_.paths.Namespaces(record.id),
                                                       netns::NamespaceType::kUser)));
  const std::string view = deps_.paths.LayersView(record.id);
  RETURN_IF_ERROR(base::MakeDirs(view, 0700));
  return deps_.mounter.MountIdMapped({.source = deps_.paths.Layers(),
                                      .target = view,
                                      .user_namespace_fd = user.get(),
                                      .read_only = true});
}

}  // namespace berth::sandbox
