// Client: the connection to a daemon's socket: berthd for all of it, any CRI runtime for runtime()
// and images(). Threads: thread-safe, as gRPC's stubs are.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"

#include "berth/v1/admin.grpc.pb.h"
#include "cmd/berthctl/interrupt.h"
#include "runtime/v1/api.grpc.pb.h"

namespace berth::berthctl {

class Client {
 public:
  // `socket`: unix:///PATH or /PATH. Errors say what to look at: kInvalidArgument: another form;
  // kNotFound: no socket; kUnavailable: nobody listens; kPermissionDenied.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const std::string& socket);

  runtime::v1::RuntimeService::Stub& runtime() { return *runtime_; }
  runtime::v1::ImageService::Stub& images() { return *images_; }
  v1::Admin::Stub& admin() { return *admin_; }

  // Makes one call. Errors: the server's with its code, prefixed with `what`; kCancelled when
  // `interrupt` (may be null) ended it.
  absl::Status Call(const std::string& what, absl::Duration timeout, Interrupt* interrupt,
                    const std::function<grpc::Status(grpc::ClientContext*)>& call);

 private:
  Client(std::string socket, const std::shared_ptr<grpc::Channel>& channel);

  const std::string socket_;
  std::unique_ptr<runtime::v1::RuntimeService::Stub> runtime_;
  std::unique_ptr<runtime::v1::ImageService::Stub> images_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

}  // namespace berth::berthctl
