// PodCgroups: the cgroup of a pod's pause process, whichever driver and cgroup version the node
// has. Containers' cgroups are made by the OCI runtime from SpecCgroupsPath(); this removes what a
// runtime or a crash left of them, too.
//
//   ASSIGN_OR_RETURN(UniqueFd fd, cgroups.Prepare(ctx, parent, id));  // v2 with cgroupfs: born in
//   it; else invalid
//   ... start the pause with cgroup_fd = fd ...
//   RETURN_IF_ERROR(cgroups.Place(ctx, parent, id, pid));             // v1: moves it; systemd:
//   starts the scope
//   ...
//   RETURN_IF_ERROR(cgroups.Destroy(ctx, parent, id));
//
// Threads: thread-safe. Ownership: borrows the ScopeBus. Everything is idempotent.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/unique_fd.h"
#include "lib/cgroup/cgroup_path.h"
#include "lib/cgroup/hierarchy.h"
#include "lib/cgroup/scope_bus.h"

namespace berth::cgroup {

// "cgroupfs", "systemd", or "auto": systemd where pid 1 is systemd and its bus answers.
// kInvalidArgument: another word; kUnavailable: "systemd" was asked for and does not answer.
absl::StatusOr<Driver> ChooseDriver(const base::OpContext& ctx, const std::string& wanted,
                                    ScopeBus& bus, const std::string& proc_root = "/proc");

class PodCgroups {
 public:
  PodCgroups(Driver driver, Hierarchy hierarchy, ScopeBus& bus)
      : driver_(driver), hierarchy_(std::move(hierarchy)), bus_(bus) {}

  Driver driver() const { return driver_; }
  const Hierarchy& hierarchy() const { return hierarchy_; }

  // cgroupfs: makes the cgroup; returns its directory on v2, an invalid descriptor on v1. systemd:
  // nothing to do yet, an invalid descriptor. kInvalidArgument: the parent's style.
  absl::StatusOr<base::UniqueFd> Prepare(const base::OpContext& ctx, const std::string& parent,
                                         const std::string& id) const;
  // Puts the running pause into its cgroup; where it was born there, only checks. On v1 some 20 ms,
  // during which the caller may do other work for the pod on another thread: nothing else depends
  // on it.
  absl::Status Place(const base::OpContext& ctx, const std::string& parent, const std::string& id,
                     pid_t pid) const;
  // The directory of a placed pod's cgroup, for processes of the pod's that are to be born in it.
  // On v1 an invalid descriptor: there a process can only be moved (Join). kNotFound: no such
  // cgroup.
  absl::StatusOr<base::UniqueFd> Open(const std::string& parent, const std::string& id) const;
  // Moves a process of the pod's into the cgroup of a placed pod. Some 10 to 20 ms, as Place.
  // kNotFound: no such cgroup or process.
  absl::Status Join(const std::string& parent, const std::string& id, pid_t pid) const;
  // Kills whatever is left in it, stops the scope, removes the cgroup. Leaves the parent, which is
  // the kubelet's; DefaultParent() is left too.
  absl::Status Destroy(const base::OpContext& ctx, const std::string& parent,
                       const std::string& id) const;

 private:
  Driver driver_;
  Hierarchy hierarchy_;
  ScopeBus& bus_;
};

}  // namespace berth::cgroup
