// Server: the gRPC server on the unix socket, with the CRI's two services and berthctl's.
// Threads: Create and Stop on the main thread. Ownership: borrows the Node and the
// streaming server, whose URLs it hands out.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "daemon/app/node.h"
#include "daemon/config/config.h"
#include "daemon/streaming/stream_server.h"

namespace berth::app {

class Server {
 public:
  // Listens (mode 0660; a leftover socket is replaced) and serves. kFailedPrecondition: another
  // process answers on the socket; kUnavailable: the socket cannot be made.
  static absl::StatusOr<std::unique_ptr<Server>> Create(const config::Config& config, Node& node,
                                                        streaming::StreamServer& streams);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Ends the event streams. No new requests; running ones may end by themselves for kFinishBudget,
  // are then cancelled, and waited for: what they half made they undo. Idempotent.
  void Stop();
  static constexpr absl::Duration kFinishBudget = absl::Seconds(1);

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace berth::app
