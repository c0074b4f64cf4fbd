// CRI v1 Exec, Attach and PortForward: a check now, and a URL of the streaming server for later.
#include "fmt/format.h"

#include "daemon/cri/call.h"
#include "daemon/cri/fields.h"
#include "daemon/cri/parse_container.h"
#include "daemon/cri/runtime_service.h"
#include "daemon/cri/stream_fields.h"
#include "lib/base/status.h"

namespace berth::cri {

absl::StatusOr<std::string> RuntimeService::UrlOf(const api::ExecRequest& request) {
  streaming::ExecRequest exec;
  ASSIGN_OR_RETURN(exec.command, ParseCommand(request.cmd()));
  ASSIGN_OR_RETURN(exec.streams, ParseStreams(request));
  ASSIGN_OR_RETURN(const container::ContainerPtr record,
                   deps_.containers.GetRunning(request.container_id(), "exec in"));
  exec.container_id = record->id.value();
  return deps_.streams.ExecUrl(std::move(exec));
}

absl::StatusOr<std::string> RuntimeService::UrlOf(const api::AttachRequest& request) {
  streaming::AttachRequest attach;
  ASSIGN_OR_RETURN(attach.streams, ParseStreams(request));
  ASSIGN_OR_RETURN(const container::ContainerPtr record,
                   deps_.containers.GetRunning(request.container_id(), "attach to"));
  if (request.tty() != record->spec.tty) {
    return FieldError(
        "tty", fmt::format("is {}, but container '{}' was created {} a terminal", request.tty(),
                           record->id.value(), record->spec.tty ? "with" : "without"));
  }
  attach.container_id = record->id.value();
  return deps_.streams.AttachUrl(std::move(attach));
}

absl::StatusOr<std::string> RuntimeService::UrlOf(const api::PortForwardRequest& request) {
  ASSIGN_OR_RETURN(std::vector<uint16_t> ports, ParsePorts(request.port()));
  ASSIGN_OR_RETURN(const sandbox::SandboxPtr record,
                   deps_.sandboxes.GetReady(request.pod_sandbox_id(), "forward ports of"));
  return deps_.streams.PortForwardUrl(record->id.value(), std::move(ports));
}

grpc::Status RuntimeService::Exec(grpc::ServerContext* context, const api::ExecRequest* request,
                                  api::ExecResponse* response) {
  Call call("Exec", Call::Kind::kChange, context);
  call.Note("container", request->container_id());
  absl::StatusOr<std::string> url = UrlOf(*request);
  response->set_url(url.value_or(""));
  return call.End(url.status());
}

grpc::Status RuntimeService::Attach(grpc::ServerContext* context, const api::AttachRequest* request,
                                    api::AttachResponse* response) {
  Call call("Attach", Call::Kind::kChange, context);
  call.Note("container", request->container_id());
  absl::StatusOr<std::string> url = UrlOf(*request);
  response->set_url(url.value_or(""));
  return call.End(url.status());
}

grpc::Status RuntimeService::PortForward(grpc::ServerContext* context,
                                         const api::PortForwardRequest* request,
                                         api::PortForwardResponse* response) {
  Call call("PortForward", Call::Kind::kChange, context);
  call.Note("sandbox", request->pod_sandbox_id());
  absl::StatusOr<std::string> url = UrlOf(*request);
  response->set_url(url.value_or(""));
  return call.End(url.status());
}

}  // namespace berth::cri
