// SELinux: the labels of pods' processes and files.
//
// Off unless [runtime] selinux asks for it, and then in use where the kernel has SELinux with a
// policy loaded. Labels are text, USER:ROLE:TYPE:LEVEL; the OCI runtime sets those of processes
// (process.selinuxLabel) and of the file systems that it mounts (linux.mountLabel), berthd those of
// the root file system, the pod's files and, where the kubelet asks for it (Mount.selinux_relabel),
// of volumes.
//
// Every pod has a level of its own, a pair of categories that no other pod has: the policy keeps
// containers of one type apart by it, and those of one pod share it. Pods that share the node's
// processes or IPC have none: their containers get the label that the policy gives to what a
// runtime starts, unless they ask for another. Privileged containers always get that one; only
// their files have the pod's label.
//
// Threads: Selinux is thread-safe; the functions are without state.
// Source: CRI v1 SELinuxOption, Mount.selinux_relabel; OCI runtime-spec; selinux(8), mcs(8).
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/model/security.h"

namespace berth::security {

struct SelinuxLabels {
  std::string process, mount;  // empty: none
};

// `pod` fills what `options` leaves open, then the defaults do: system_u, system_r, container_t;
// files are object_r and container_file_t. Both empty: no labels. kInvalidArgument: a part with a
// character that no label has.
absl::StatusOr<SelinuxLabels> LabelsFor(const model::SelinuxOptions& options,
                                        const model::SelinuxOptions& pod);

// The mount option that gives every file of a file system this label; empty for none.
std::string ContextOption(const std::string& label);

// Gives the file or the whole tree at `path` (absolute, without symlinks) this label. Symlinks are
// labelled, not followed; file systems that know no labels are left as they are. kInvalidArgument:
// the path is one that the node itself lives in (/, /etc, /usr, /home, ...). kCancelled,
// kDeadlineExceeded: part of it is labelled; again is fine.
absl::Status Relabel(const base::OpContext& ctx, const std::string& path, const std::string& label);

class Selinux {
 public:
  // Not in use.
  Selinux() = default;
  // `wanted`: [runtime] selinux. `root`: "", or a test's.
  explicit Selinux(bool wanted, const std::string& root = "");

  bool in_use() const { return in_use_; }
  // kInvalidArgument: the node's policy has no such user, role, type or level, or not together.
  absl::Status Check(const std::string& label) const;
  // What an administrator should know about it, one sentence; empty: nothing.
  const std::string& warning() const { return warning_; }

  // "s0:c1,c2" that no pod has; kResourceExhausted when half of the 523,776 are taken, far more
  // pods than a node can hold.
  absl::StatusOr<std::string> TakeLevel();
  // One that a pod has, from its record.
  void KeepLevel(const std::string& level);
  // Of a pod that is gone; one that was not taken is no error.
  void FreeLevel(const std::string& level);

 private:
  const std::string root_;
  bool in_use_ = false;
  std::string warning_;
  base::Mutex mu_;
  std::multiset<std::string> levels_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::security
