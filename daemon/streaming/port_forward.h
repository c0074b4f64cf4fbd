// PortForwardSession: connections of a client to ports of a pod.
//
// A connection is a pair of streams with the same request, `error` and `data`. The pod is connected
// to at 127.0.0.1, then at ::1. What cannot be connected is told in words on the error stream; a
// connection that the pod breaks later is reset, without words, since clients take words for the
// end of the whole session. Each side may close its half alone.
// Pairs that are not whole within the creation timeout are given up. Of a session over WebSocket,
// whose connections are all there from the beginning, the last one's end is the end.
// Threads: the event thread; the Backend is called on its own threads.
// Source: CRI v1 PortForward; Kubernetes `portforward.k8s.io`.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "daemon/streaming/client_stream.h"
#include "daemon/streaming/fd_pump.h"
#include "daemon/streaming/session_context.h"

namespace berth::streaming {

class PortForwardSession : public Session {
 public:
  PortForwardSession(const SessionContext& context, std::string sandbox_id, bool is_websocket);
  ~PortForwardSession() override;

  void Start(std::weak_ptr<Client> client) override { client_ = std::move(client); }
  bool OnStream(std::shared_ptr<ClientStream> stream, uint32_t id,
                const StreamHeaders& headers) override;
  void Tick(Clock::time_point now) override;
  void OnGone() override;

 private:
  class Forward;
  void Remove(const std::string& request);

  const SessionContext& context_;
  const std::string sandbox_id_;
  const bool is_websocket_;
  std::weak_ptr<Client> client_;
  std::map<std::string, std::shared_ptr<Forward>> forwards_;  // by request
};

}  // namespace berth::streaming
