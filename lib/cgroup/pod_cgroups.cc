#include "lib/cgroup/pod_cgroups.h"

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::cgroup {

absl::StatusOr<Driver> ChooseDriver(const base::OpContext& ctx, const std::string& wanted,
                                    ScopeBus& bus, const std::string& proc_root) {
  if (wanted == "cgroupfs") {
    return Driver::kCgroupfs;
  }
  if (wanted != "auto" && wanted != "systemd") {
    return absl::InvalidArgumentError(
        fmt::format("cgroup manager '{}' is not auto, systemd or cgroupfs", wanted.substr(0, 64)));
  }
  const absl::StatusOr<std::string> init = base::ReadFile(proc_root + "/1/comm", 64);
  if (!init.ok() || *init != "systemd\n") {
    if (wanted == "auto") {
      return Driver::kCgroupfs;
    }
    return absl::UnavailableError(
        "cgroup manager 'systemd': systemd is not process 1 here; use 'cgroupfs' or 'auto'");
  }
  const absl::Status answers = bus.Ping(ctx);
  if (answers.ok()) {
    return Driver::kSystemd;
  }
  if (wanted == "auto") {
    return Driver::kCgroupfs;
  }
  return base::Annotate(answers, "cgroup manager 'systemd'");
}

absl::StatusOr<base::UniqueFd> PodCgroups::Prepare(const base::OpContext& ctx,
                                                   const std::string& parent,
                                                   const std::string& id) const {
  RETURN_IF_ERROR(ctx.Check());
  ASSIGN_OR_RETURN(const std::string cgroup, CgroupOf(driver_, parent, id));
  if (driver_ == Driver::kSystemd) {
    return base::UniqueFd();  // the scope, and with it the cgroup, is made with its process in it
  }
  RETURN_IF_ERROR(hierarchy_.Create(cgroup));
  return Open(parent, id);
}

absl::StatusOr<base::UniqueFd> PodCgroups::Open(const std::string& parent,
                                                const std::string& id) const {
  ASSIGN_OR_RETURN(const std::string cgroup, CgroupOf(driver_, parent, id));
  if (hierarchy_.version() == Version::kV1) {
    return base::UniqueFd();
  }
  return hierarchy_.OpenDir(cgroup);
}

absl::Status PodCgroups::Join(const std::string& parent, const std::string& id, pid_t pid) const {
  ASSIGN_OR_RETURN(const std::string cgroup, CgroupOf(driver_, parent, id));
  return hierarchy_.AddProcess(cgroup, pid);
}

absl::Status PodCgroups::Place(const base::OpContext& ctx, const std::string& parent,
                               const std::string& id, pid_t pid) const {
  ASSIGN_OR_RETURN(const std::string cgroup, CgroupOf(driver_, parent, id));
  if (driver_ == Driver::kSystemd) {
    ASSIGN_OR_RETURN(const std::string slice, ParentSlice(parent));
    RETURN_IF_ERROR(bus_.StartScope(ctx, ScopeName(id), slice, pid,
                                    fmt::format("berth pod {}", id.substr(0, 12))));
    if (hierarchy_.version() == Version::kV2) {
      return absl::OkStatus();
    }
    // On v1, systemd fills the trees that it knows; the freezer's and others are for us.
    RETURN_IF_ERROR(hierarchy_.Create(cgroup));
  }
  return hierarchy_.AddProcess(cgroup, pid);
}

absl::Status PodCgroups::Destroy(const base::OpContext& ctx, const std::string& parent,
                                 const std::string& id) const {
  ASSIGN_OR_RETURN(const std::string cgroup, CgroupOf(driver_, parent, id));
  RETURN_IF_ERROR(hierarchy_.KillAll(ctx, cgroup));
  if (driver_ == Driver::kSystemd) {
    RETURN_IF_ERROR(bus_.StopUnit(ctx, ScopeName(id)));
  }
  return hierarchy_.Remove(ctx, cgroup);
}

}  // namespace berth::cgroup
