// CRI v1 ExecSync.
#include "fmt/format.h"

#include "daemon/cri/call.h"
#include "daemon/cri/fields.h"
#include "daemon/cri/parse_container.h"
#include "daemon/cri/runtime_service.h"
#include "lib/base/status.h"

namespace berth::cri {

namespace {

// The whole of stderr when the timeout ended the command: the text that probes know from other
// runtimes.
constexpr char kTimedOut[] = "command timed out";

}  // namespace

absl::Status RuntimeService::Exec(const base::OpContext& ctx, const api::ExecSyncRequest& request,
                                  api::ExecSyncResponse& response) {
  ASSIGN_OR_RETURN(const std::vector<std::string> command, ParseCommand(request.cmd()));
  if (request.timeout() < 0) {
    return FieldError("timeout", fmt::format("is {}; 0 or more are allowed", request.timeout()));
  }
  ASSIGN_OR_RETURN(runtime::ExecResult result,
                   deps_.containers.ExecSync(ctx, request.container_id(), command,
                                             absl::Seconds(request.timeout())));
  response.set_exit_code(result.timed_out ? -1 : result.exit_code);
  response.set_stdout(std::move(result.out));
  response.set_stderr(result.timed_out ? kTimedOut : std::move(result.err));
  return absl::OkStatus();
}

grpc::Status RuntimeService::ExecSync(grpc::ServerContext* context,
                                      const api::ExecSyncRequest* request,
                                      api::ExecSyncResponse* response) {
  // Probes run these every few seconds in every container: no line for each.
  Call call("ExecSync", Call::Kind::kRead, context);
  call.Note("container", request->container_id());
  return call.End(Exec(call.context(), *request, *response));
}

}  // namespace berth::cri
