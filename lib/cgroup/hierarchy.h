// Hierarchy: the mounted cgroup file systems, and what is done with directories and processes in
// them.
//
// v2 (unified): one tree. v1: a tree for each group of controllers; "hybrid" is v1 with a
// controllerless v2 tree beside it, and counts as v1 here, as it does for runc and crun. A cgroup
// ("/kubepods/pod1") is the same path in every tree.
//
// Threads: immutable after Detect; all functions are thread-safe. They block on the kernel (moving
// a process between v1 cgroups: up to a grace period, some 20 ms). Everything is idempotent: made,
// moved or gone already is OK. Source: kernel Documentation/admin-guide/cgroup-v2.rst,
// cgroup-v1/cgroups.rst.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/unique_fd.h"

namespace berth::cgroup {

enum class Version { kV1, kV2 };

// One mounted tree.
struct Mount {
  std::string path;  // "/sys/fs/cgroup/memory"
  std::vector<std::string>
      controllers;  // {"memory"}, {"cpu", "cpuacct"}, {"name=systemd"}; empty for the v2 tree
};

class Hierarchy {
 public:
  // Reads <proc_root>/self/mountinfo for cgroup file systems at or below `sys_root`.
  // kFailedPrecondition: none is mounted.
  static absl::StatusOr<Hierarchy> Detect(const std::string& sys_root = "/sys/fs/cgroup",
                                          const std::string& proc_root = "/proc");

  Version version() const { return version_; }
  bool is_hybrid() const { return version_ == Version::kV1 && has_unified_; }
  // v1: every tree, the v2 one of a hybrid last; v2: one.
  const std::vector<Mount>& mounts() const { return mounts_; }

  // The directory of `cgroup` in the tree of `controller`, or in the one tree of v2. kNotFound: no
  // such controller mounted.
  absl::StatusOr<std::string> Dir(const std::string& cgroup, const std::string& controller) const;
  // Its directories in all trees, whether or not they exist.
  std::vector<std::string> Dirs(const std::string& cgroup) const;

  // Makes the cgroup and its parents; on v2 with the controllers enabled in every parent's
  // subtree_control, as far as the kernel offers them; on v1 in every tree, cpusets inheriting
  // their parents' cpus and mems.
  absl::Status Create(const std::string& cgroup) const;
  // A descriptor of the directory, for ProcessSpec::cgroup_fd; v2 only (kFailedPrecondition on v1).
  absl::StatusOr<base::UniqueFd> OpenDir(const std::string& cgroup) const;

  // Moves a process into the (existing) cgroup, in every tree where it is elsewhere. kNotFound: no
  // such process or cgroup. v1 writes one tree after the other: the first write waits for a grace
  // period, the ones right after it hardly do.
  absl::Status AddProcess(const std::string& cgroup, pid_t pid) const;

  // Processes in the cgroup and the ones below it, of all trees, sorted. Absent cgroup: none.
  absl::StatusOr<std::vector<pid_t>> Pids(const std::string& cgroup) const;

  // Sends SIGKILL to all of them, until there are none (cgroup.kill where the kernel has it).
  absl::Status KillAll(const base::OpContext& ctx, const std::string& cgroup) const;

  // Removes the cgroup and those below it, deepest first, trying again while the kernel says EBUSY,
  // for at most 2 s (a killed process leaves its cgroup when it has ended, a moment later).
  // kFailedPrecondition: it has processes. Absent: OK.
  absl::Status Remove(const base::OpContext& ctx, const std::string& cgroup) const;

 private:
  Hierarchy(Version version, bool has_unified, std::vector<Mount> mounts, std::string proc_root);

  Version version_;
  bool has_unified_;
  std::vector<Mount> mounts_;
  std::string proc_root_;
};

}  // namespace berth::cgroup
