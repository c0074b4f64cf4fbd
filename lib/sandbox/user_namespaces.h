// UserNamespaces: whether this node can give pods user namespaces. Asked once, when somebody wants
// to know, by doing it: what matters is the kernel, its settings, and the file system of the
// layers.
//
// Threads: thread-safe; the first call of either blocks for some milliseconds (a process, mounts
// that only it sees). Ownership: borrows everything. Source: man 7 user_namespaces, man 2
// mount_setattr.
#pragma once

#include <mutex>

#include "absl/status/status.h"

#include "lib/mount/mounter.h"
#include "lib/netns/pause_launcher.h"
#include "lib/snapshot/overlay_snapshotter.h"
#include "lib/store/paths.h"

namespace berth::sandbox {

class UserNamespaces {
 public:
  UserNamespaces(const store::Paths& paths, mount::Mounter& mounter, netns::PauseLauncher& pauses,
                 snapshot::OverlaySnapshotter& snapshotter)
      : paths_(paths), mounter_(mounter), pauses_(pauses), snapshotter_(snapshotter) {}

  // kFailedPrecondition, with the reason: no pod can have one.
  absl::Status ForPods();
  // The same for volumes in memory, as the kubelet makes them for secrets and tokens: nearly every
  // pod has one, so without them there is little use in the rest (Linux 6.3).
  absl::Status ForVolumes();

 private:
  void Probe();
  absl::Status TryPods(int user_namespace_fd);
  absl::Status TryVolumes(int user_namespace_fd);

  const store::Paths& paths_;
  mount::Mounter& mounter_;
  netns::PauseLauncher& pauses_;
  snapshot::OverlaySnapshotter& snapshotter_;
  std::once_flag probed_;
  absl::Status pods_, volumes_;
};

}  // namespace berth::sandbox
