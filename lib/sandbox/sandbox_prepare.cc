// What a pod has before its pause starts: a label and files.
#include <sys/mount.h>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
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
  RETURN_IF_ERROR(base::WriteFile(paths.ResolvConf(record.id), resolv_conf, 0644));
  RETURN_IF_ERROR(base::WriteFile(paths.Hostname(record.id), record.hostname + "\n", 0644));
  std::string context;
  if (deps_.selinux.in_use()) {
    ASSIGN_OR_RETURN(const security::SelinuxLabels labels,
                     security::LabelsFor(record.spec.selinux, {}));
    if (!labels.mount.empty()) {
      RETURN_IF_ERROR(security::Relabel(ctx, paths.ResolvConf(record.id), labels.mount));
      RETURN_IF_ERROR(security::Relabel(ctx, paths.Hostname(record.id), labels.mount));
      context = "," + security::ContextOption(labels.mount);
    }
  }
  if (!OwnsIpc(record.spec)) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(base::MakeDirs(paths.Shm(record.id), 0700));
  return deps_.mounter.Mount(
      {.source = "shm",
       .target = paths.Shm(record.id),
       .fstype = "tmpfs",
       .flags = MS_NOSUID | MS_NODEV | MS_NOEXEC,
       .options = fmt::format("mode=1777,size={}{}", options_.shm_bytes, context)});
}

}  // namespace berth::sandbox
