// Call: one RPC being served: its context for the libraries, its log line, its answer's status.
//
//   grpc::Status RuntimeService::StartContainer(grpc::ServerContext* context, const
//   api::StartContainerRequest* request, ...) {
//     Call call("StartContainer", Call::Kind::kChange, context);
//     call.Note("container", request->container_id());
//     return call.End(containers_.Start(call.context(), request->container_id()));
//   }
//
// Logged: one line at the end, with name, notes, ms and code; info for what changes something,
// debug for the rest. Notes are ids and names only: environments, credentials and annotations never
// come here.
//
// Threads: one. The OpContext may be copied and outlive the call: it counts as cancelled then.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/server_context.h"

#include "lib/base/op_context.h"

namespace berth::cri {

class Call {
 public:
  enum class Kind { kChange, kRead };

  Call(std::string_view name, Kind kind, grpc::ServerContext* context);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const base::OpContext& context() const { return context_; }
  // Adds " key=value" to the log line. An empty value is left out.
  void Note(std::string_view key, std::string_view value);
  grpc::Status End(const absl::Status& status);

 private:
  class Caller;

  const std::string name_;
  const Kind kind_;
  const absl::Time began_;
  const std::shared_ptr<Caller> caller_;
  const base::OpContext context_;
  std::string notes_;
};

// UNIMPLEMENTED, naming the RPC.
grpc::Status NotImplemented(std::string_view rpc);

}  // namespace berth::cri
