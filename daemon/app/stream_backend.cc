#include "daemon/app/stream_backend.h"

#include <utility>

#include "lib/base/status.h"

namespace berth::app {

absl::StatusOr<streaming::ExecProcess> StreamBackend::Exec(const base::OpContext& ctx,
                                                           const streaming::ExecRequest& request) {
  const streaming::Streams& wanted = request.streams;
  ASSIGN_OR_RETURN(
      runtime::StartedExec started,
      containers_.StartExec(
          ctx, request.container_id, request.command,
          {.in = wanted.in, .out = wanted.out, .err = wanted.err, .terminal = wanted.tty}));
  streaming::ExecProcess process;
  process.in = std::move(started.in);
  process.out = std::move(started.out);
  process.err = std::move(started.err);
  process.terminal = std::move(started.terminal);
  process.report = std::move(started.report);
  return process;
}

absl::StatusOr<streaming::Attachment> StreamBackend::Attach(
    const base::OpContext& ctx, const streaming::AttachRequest& request) {
  const streaming::Streams& wanted = request.streams;
  streaming::Attachment attachment;
  ASSIGN_OR_RETURN(attachment.monitor, containers_.Attach(ctx, request.container_id, wanted.in,
                                                          wanted.out, wanted.err));
  return attachment;
}

absl::StatusOr<streaming::PodSockets> StreamBackend::OpenPodSockets(const base::OpContext&,
                                                                    const std::string& sandbox_id) {
  ASSIGN_OR_RETURN(sandbox::PodSockets sockets, sandboxes_.OpenSockets(sandbox_id));
  streaming::PodSockets result;
  result.ipv4 = std::move(sockets.ipv4);
  result.ipv6 = std::move(sockets.ipv6);
  return result;
}

}  // namespace berth::app
