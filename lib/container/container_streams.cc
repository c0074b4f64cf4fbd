// What goes in and out of a running container: commands, its own streams, its log.
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/container/container_service.h"
#include "lib/spec/process.h"

namespace berth::container {

namespace {

constexpr size_t kMaxProcessJson = 8 << 20;
// A monitor answers at once, unless the disk of its log does not.
constexpr absl::Duration kStateBudget = absl::Seconds(1);

std::string ExecIn(const model::ContainerRecord& record) {
  return fmt::format("exec in container '{}'", record.id.value());
}

}  // namespace

absl::StatusOr<std::string> ContainerService::ExecProcess(const model::ContainerRecord& record,
                                                          const std::vector<std::string>& command,
                                                          bool tty) const {
  ASSIGN_OR_RETURN(const std::string process,
                   base::ReadFile(deps_.paths.BundleProcess(record.id), kMaxProcessJson));
  absl::StatusOr<std::string> exec_process = spec::BuildProcessJson(process, command, tty);
  RETURN_IF_ERROR(base::Annotate(exec_process.status(), ExecIn(record)));
  return exec_process;
}

absl::StatusOr<runtime::ExecResult> ContainerService::ExecSync(
    const base::OpContext& ctx, const std::string& id, const std::vector<std::string>& command,
    absl::Duration timeout) {
  ASSIGN_OR_RETURN(const ContainerPtr record, GetRunning(id, "exec in"));
  ASSIGN_OR_RETURN(const std::string process, ExecProcess(*record, command, /*tty=*/false));
  ASSIGN_OR_RETURN(runtime::OciRuntime runtime, RuntimeOf(*record));
  absl::StatusOr<runtime::ExecResult> result =
      runtime.ExecSync(ctx, record->id.value(), process, timeout);
  RETURN_IF_ERROR(base::Annotate(result.status(), ExecIn(*record)));
  return result;
}

absl::StatusOr<runtime::StartedExec> ContainerService::StartExec(
    const base::OpContext& ctx, const std::string& id, const std::vector<std::string>& command,
    const runtime::ExecStreams& streams) {
  ASSIGN_OR_RETURN(const ContainerPtr record, GetRunning(id, "exec in"));
  ASSIGN_OR_RETURN(const std::string process, ExecProcess(*record, command, streams.terminal));
  ASSIGN_OR_RETURN(runtime::OciRuntime runtime, RuntimeOf(*record));
  absl::StatusOr<runtime::StartedExec> started =
      runtime.StartExec(ctx, record->id.value(), process, streams);
  RETURN_IF_ERROR(started.status());
  monitors_.Reap(std::move(started->helper));
  return started;
}

absl::StatusOr<base::UniqueFd> ContainerService::Attach(const base::OpContext& ctx,
                                                        const std::string& id, bool in, bool out,
                                                        bool err) {
  ASSIGN_OR_RETURN(const ContainerPtr record, GetRunning(id, "attach to"));
  const std::string what = fmt::format("attach to container '{}'", record->id.value());
  absl::StatusOr<runtime::MonitorConnection> monitor =
      runtime::MonitorConnection::Connect(ctx, deps_.paths.MonitorSocket(record->id));
  if (absl::IsNotFound(monitor.status())) {
    // It has just ended, or its monitor was killed and nobody holds its streams any more.
    return absl::FailedPreconditionError(base::Annotate(monitor.status(), what).message());
  }
  RETURN_IF_ERROR(base::Annotate(monitor.status(), what));
  absl::StatusOr<base::UniqueFd> fd = (*std::move(monitor)).Attach(ctx, in, out, err);
  RETURN_IF_ERROR(base::Annotate(fd.status(), what));
  return fd;
}

absl::Status ContainerService::ReopenLog(const base::OpContext& ctx, const std::string& id) {
  ASSIGN_OR_RETURN(const ContainerPtr record, GetRunning(id, "reopen the log of"));
  const std::string what = fmt::format("reopen the log of container '{}'", record->id.value());
  absl::StatusOr<runtime::MonitorConnection> monitor =
      runtime::MonitorConnection::Connect(ctx, deps_.paths.MonitorSocket(record->id));
  RETURN_IF_ERROR(base::Annotate(monitor.status(), what));
  return base::Annotate(monitor->ReopenLog(ctx), what);
}

std::optional<uint64_t> ContainerService::LostLogBytes(const base::OpContext& ctx,
                                                       const model::ContainerRecord& record) const {
  if (record.state() == model::ContainerState::kExited) {
    return record.lost_log_bytes;
  }
  const absl::StatusOr<runtime::MonitorConnection> monitor = runtime::MonitorConnection::Connect(
      ctx.Within(kStateBudget), deps_.paths.MonitorSocket(record.id));
  return monitor.ok() ? std::optional(monitor->state().lost_log_bytes) : std::nullopt;
}

}  // namespace berth::container
