// PauseLauncher: starts the one process of a pod, berth-pause, which holds the pod's namespaces,
// and pins those.
//
// One clone3(2): the child is born in its new namespaces and, with cgroup v2, in its cgroup;
// between clone and exec it sets the hostname, brings `lo` up and writes the sysctls; so when
// Launch returns, the namespaces are as the pod wants them. A pod that shares everything with the
// node gets a pause all the same, in no new namespace: callers need no special case.
//
// With a user namespace the others belong to it, and all of them to the host's user that the pod's
// root is: what the kernel counts (/proc/sys/user), it counts against that one. Their sysctls are
// then written by berthd from outside, since root of the pod may not write all of them on every
// kernel.
//
// Threads: thread-safe; launches run side by side. Ownership: borrows the ProcessRunner.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/process_runner.h"
#include "lib/base/unique_fd.h"
#include "lib/model/security.h"
#include "lib/netns/namespace.h"

namespace berth::netns {

// The maps of a user namespace, as model::FaultOfIdMap finds them right; a pod's with an id 0.
struct IdMaps {
  std::vector<model::IdMapping> uids, gids;
};

struct PauseSpec {
  std::string pins_dir;  // <state>/ns/<pod id>; made 0700
  bool new_net = true;
  bool new_ipc = true;
  bool new_uts = true;
  std::optional<IdMaps> user;  // a user namespace
  bool new_pid = false;  // only for pods that share a pid namespace: pause is its pid 1 and reaps
  std::string hostname;  // needs new_uts; empty: the node's
  std::map<std::string, std::string> sysctls;
  std::string selinux_label;  // of the process; empty: what the policy gives it
  int cgroup_fd = -1;         // a cgroup v2 directory, or -1: stays in the daemon's until moved
  int oom_score_adj =
      -998;  // clamped to the daemon's own where the machine does not allow it; logged once
};

struct Pause {
  base::Process process;  // pid and pidfd
  // The pause ends when this is closed before Release(): call that when the pause is on record, so
  // that a daemon which dies in between leaves no process that nobody knows of.
  base::UniqueFd hold;
  absl::Status Release();
  uint64_t start_time = 0;  // base::ProcessStartTime
  // Paths of what was pinned: exactly the new namespaces.
  std::map<NamespaceType, std::string> pins;
};

class PauseLauncher {
 public:
  // `pause_path`: absolute path of berth-pause.
  PauseLauncher(base::ProcessRunner& runner, std::string pause_path)
      : runner_(runner), pause_path_(std::move(pause_path)) {}

  // kInvalidArgument: a sysctl or the hostname is refused (nothing was started); kNotFound: no
  // pause program; others by errno, naming the step. After an error no process and no pin is left.
  absl::StatusOr<Pause> Launch(const base::OpContext& ctx, const PauseSpec& spec);

  // A user namespace with nobody in it, for what needs its maps alone (id-mapped mounts).
  absl::StatusOr<base::UniqueFd> MakeUserNamespace(const base::OpContext& ctx, const IdMaps& maps);

 private:
  absl::Status SetOomScore(pid_t pid, int wanted);

  base::ProcessRunner& runner_;
  const std::string pause_path_;
  std::atomic<bool> oom_clamp_logged_ = false;
};

// A pidfd of a process known from a record: its pid and start time. kNotFound: it has ended, or the
// pid is another's now.
absl::StatusOr<base::UniqueFd> OpenProcess(pid_t pid, uint64_t start_time);

// Kills a pause (SIGKILL: it has nothing to save) and waits for its end; reaps it when it is a
// child of this process. Idempotent: ended already is OK.
absl::Status StopPause(const base::OpContext& ctx, pid_t pid, uint64_t start_time);

}  // namespace berth::netns
