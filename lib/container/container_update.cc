// UpdateContainerResources: limits of a container that is created or runs.
//
// What is about to be touched is stored in the record, as it is, before anything is: a failed
// change, and one that a crash cut off, is undone from that.
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/cgroup/limit_files.h"
#include "lib/container/container.h"
#include "lib/container/container_service.h"
#include "lib/container/node_setup.h"
#include "lib/spec/resource_update.h"

namespace berth::container {

namespace {

constexpr size_t kMaxSpec = 16 << 20;
constexpr absl::Duration kUndoBudget = absl::Seconds(30);

cgroup::LimitKinds KindsOf(const model::Resources& wanted) {
  cgroup::LimitKinds kinds;
  kinds.cpu = wanted.cpu_shares != 0 || wanted.cpu_quota != 0 || wanted.cpu_period != 0;
  kinds.memory = wanted.memory_limit_bytes != 0 || wanted.memory_swap_limit_bytes != 0;
  kinds.cpuset = !wanted.cpuset_cpus.empty() || !wanted.cpuset_mems.empty();
  for (const model::HugepageLimit& limit : wanted.hugepage_limits) {
    kinds.page_sizes.push_back(limit.page_size);
  }
  for (const auto& [file, value] : wanted.unified) {
    kinds.files.push_back(file);
  }
  return kinds;
}

// The runtimes say in words what the kernel thinks of a value.
absl::Status Classify(const absl::Status& status) {
  const std::string text = absl::AsciiStrToLower(status.message());
  const bool is_value = absl::StrContains(text, "out of range") ||
                        absl::StrContains(text, "invalid argument") ||
                        absl::StrContains(text, "no such device");
  return !status.ok() && is_value ? absl::InvalidArgumentError(status.message()) : status;
}

}  // namespace

absl::Status ContainerService::UpdateResources(
    const base::OpContext& ctx, const std::string& id, const model::Resources& wanted,
    const std::map<std::string, std::string>& annotations) {
  ASSIGN_OR_RETURN(const Ptr container, index_.Find(id));
  base::MutexLock lock(container->op_mu());
  const std::string what = fmt::format("update container '{}'", container->id().value());
  {
    base::MutexLock persist(container->persist_mu());
    if (container->removed()) {
      return absl::NotFoundError(fmt::format("{}: it was removed", what));
    }
  }
  const auto check_lives = [&]() -> absl::Status {
    return container->exited()
               ? absl::FailedPreconditionError(fmt::format("{}: it has exited", what))
               : absl::OkStatus();
  };
  RETURN_IF_ERROR(check_lives());
  RETURN_IF_ERROR(base::Annotate(UndoUpdate(container), what));  // what an earlier one left
  const ContainerPtr record = container->record();
  ASSIGN_OR_RETURN(const runtime::Handler* handler, deps_.handlers.Get(record->runtime_handler));
  const absl::StatusOr<spec::ResourceUpdate> update =
      spec::PlanResourceUpdate(record->spec.resources, wanted, node_.facts, LimitsOf(*handler));
  RETURN_IF_ERROR(base::Annotate(update.status(), what));
  for (const std::string& warning : update->warnings) {
    base::Log("container").warn("{} container={}", warning, record->id.Short());
  }
  absl::Status status = ApplyUpdate(ctx, container, wanted, *update, annotations);
  if (status.ok()) {
    return status;
  }
  if (const absl::Status undone = UndoUpdate(container); !undone.ok() && !container->exited()) {
    base::Log("container")
        .error("a failed change of resources is not undone container={} error=\"{}\"",
               record->id.Short(), undone.ToString());
  }
  RETURN_IF_ERROR(check_lives());
  return base::Annotate(status, what);
}

absl::Status ContainerService::ApplyUpdate(const base::OpContext& ctx, const Ptr& container,
                                           const model::Resources& wanted,
                                           const spec::ResourceUpdate& update,
                                           const std::map<std::string, std::string>& annotations) {
  const ContainerPtr record = container->record();
  const cgroup::Hierarchy& hierarchy = deps_.cgroups.hierarchy();
  ASSIGN_OR_RETURN(
      const std::string cgroup,
      cgroup::CgroupOf(deps_.cgroups.driver(), record->cgroup_parent, record->id.value()));
  ASSIGN_OR_RETURN(const spec::ResourceUpdate before,
                   spec::PlanResourceUpdate(record->spec.resources, {}, node_.facts, {}));
  if (wanted.memory_limit_bytes > 0) {
    RETURN_IF_ERROR(cgroup::CheckMemoryFits(hierarchy, cgroup, wanted.memory_limit_bytes));
  }
  model::ResourceUndo undo{.files = cgroup::ReadLimits(hierarchy, cgroup, KindsOf(wanted)),
                           .old_oom_score_adj = before.oom_score_adj,
                           .new_oom_score_adj = update.oom_score_adj};
  container->Update([&](model::ContainerRecord& changed) { changed.resource_undo = undo; });
  RETURN_IF_ERROR(Persist(*container));

  if (!update.runtime_json.empty()) {
    ASSIGN_OR_RETURN(runtime::OciRuntime runtime, RuntimeOf(*record));
    RETURN_IF_ERROR(Classify(runtime.Update(ctx, record->id.value(), update.runtime_json)));
  }
  if (update.lifts_cpu_quota) {
    RETURN_IF_ERROR(cgroup::LiftCpuQuota(hierarchy, cgroup));
  }
  for (const model::HugepageLimit& limit : wanted.hugepage_limits) {
    if (node_.facts.has_hugetlb) {
      RETURN_IF_ERROR(cgroup::SetHugepageLimit(hierarchy, cgroup, limit.page_size, limit.limit));
    }
  }
  RETURN_IF_ERROR(
      cgroup::ChangeOomScore(hierarchy, cgroup, undo.old_oom_score_adj, undo.new_oom_score_adj));
  RETURN_IF_ERROR(WriteResources(*record, update));
  // An exit while this was going on is not a success: nobody has these limits.
  if (container->exited()) {
    return absl::FailedPreconditionError("it has exited");
  }
  container->Update([&](model::ContainerRecord& changed) {
    changed.spec.resources = update.resources;
    changed.resource_undo.reset();
    for (const auto& [key, value] : annotations) {
      changed.update_annotations[key] = value;
    }
  });
  if (absl::Status stored = Persist(*container); !stored.ok()) {
    container->Update([&](model::ContainerRecord& changed) {
      changed.spec.resources = record->spec.resources;
      changed.resource_undo = undo;
      changed.update_annotations = record->update_annotations;
    });
    return stored;
  }
  return absl::OkStatus();
}

// What a verbose status shows, and what `exec` goes by.
absl::Status ContainerService::WriteResources(const model::ContainerRecord& record,
                                              const spec::ResourceUpdate& update) {
  const std::string config = deps_.paths.BundleConfig(record.id);
  const std::string process = deps_.paths.BundleProcess(record.id);
  const bool first_cpu = node_.PolicyOf(record.runtime_handler).exec_on_first_cpu;
  ASSIGN_OR_RETURN(const std::string old_config, base::ReadFile(config, kMaxSpec));
  ASSIGN_OR_RETURN(const std::string old_process, base::ReadFile(process, kMaxSpec));
  ASSIGN_OR_RETURN(const std::string new_config, spec::UpdateConfig(old_config, update, first_cpu));
  ASSIGN_OR_RETURN(const std::string new_process,
                   spec::UpdateProcess(old_process, update, first_cpu));
  RETURN_IF_ERROR(base::WriteFileAtomic(config, new_config, 0600));
  return base::WriteFileAtomic(process, new_process, 0600);
}

// Takes back a change of which the record says that it is not complete. OK when there is none.
absl::Status ContainerService::UndoUpdate(const Ptr& container) {
  const ContainerPtr record = container->record();
  if (!record->resource_undo) {
    return absl::OkStatus();
  }
  const model::ResourceUndo& undo = *record->resource_undo;
  const base::OpContext ctx = base::OpContext::WithTimeout(kUndoBudget);
  const cgroup::Hierarchy& hierarchy = deps_.cgroups.hierarchy();
  ASSIGN_OR_RETURN(
      const std::string cgroup,
      cgroup::CgroupOf(deps_.cgroups.driver(), record->cgroup_parent, record->id.value()));
  // Everything in force counts as wanted, so that systemd is told of all of it.
  ASSIGN_OR_RETURN(
      const spec::ResourceUpdate before,
      spec::PlanResourceUpdate(record->spec.resources, record->spec.resources, node_.facts, {}));
  if (deps_.cgroups.driver() == cgroup::Driver::kSystemd && !before.runtime_json.empty()) {
    // It keeps limits of its own, which only a runtime tells it. The files below are what counts.
    ASSIGN_OR_RETURN(runtime::OciRuntime runtime, RuntimeOf(*record));
    runtime.Update(ctx, record->id.value(), before.runtime_json).IgnoreError();
  }
  RETURN_IF_ERROR(cgroup::RestoreLimits(hierarchy, cgroup, undo.files));
  RETURN_IF_ERROR(
      cgroup::ChangeOomScore(hierarchy, cgroup, undo.new_oom_score_adj, undo.old_oom_score_adj));
  if (base::PathExists(deps_.paths.BundleConfig(record->id))) {
    RETURN_IF_ERROR(WriteResources(*record, before));
  }
  container->Update([](model::ContainerRecord& changed) { changed.resource_undo.reset(); });
  return Persist(*container);
}

}  // namespace berth::container
