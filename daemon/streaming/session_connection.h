// SessionConnection: what connections with a session have in common, whatever their protocol: the
// idle time, the orderly end, and the look at clients that are not read from.
//
// An orderly end (Close): what was sent goes out, the client is told, and gets kLingerTimeout to
// close; what it sends meanwhile is dropped. Closing at once would make the kernel reset the
// connection over unread input, and output under way be lost.
// Threads: the event thread. Ownership: owned by the ConnectionSet and by its operations in flight;
// owns the session.
#pragma once

#include <memory>
#include <utility>

#include "daemon/streaming/byte_stream.h"
#include "daemon/streaming/client_stream.h"
#include "daemon/streaming/connection_set.h"

namespace berth::streaming {

class SessionConnection : public Connection,
                          public Client,
                          public std::enable_shared_from_this<SessionConnection> {
 public:
  // idle_timeout of zero: none.
  SessionConnection(ConnectionSet& set, std::unique_ptr<Session> session,
                    std::chrono::seconds idle_timeout)
      : set_(set), session_(std::move(session)), idle_timeout_(idle_timeout) {}

  void Tick(Clock::time_point now) override;
  void Abort() override { End(); }
  void Close() override;

 protected:
  virtual ByteStream& stream() = 0;
  // Sends the protocol's farewell after what is queued, then calls StartLinger.
  virtual void SayGoodbye() = 0;
  // Input is not being read, because too much waits.
  virtual bool is_paused() const = 0;

  Session& session() { return *session_; }
  // Data has moved in either direction. Keep-alives are none.
  void Touch() { last_data_ = Clock::now(); }
  bool closing() const { return closing_; }
  bool ended() const { return ended_; }
  void StartLinger() { linger_until_ = Clock::now() + kLingerTimeout; }
  void StopLinger() { linger_until_ = Clock::time_point::max(); }
  // The connection is over: the session is told, the socket closed.
  void End();
  // The client broke the protocol: its session ends now, the connection in an orderly way.
  void EndSession();

 private:
  ConnectionSet& set_;
  const std::unique_ptr<Session> session_;
  const std::chrono::seconds idle_timeout_;
  Clock::time_point last_data_ = Clock::now();
  Clock::time_point linger_until_ = Clock::time_point::max();
  bool session_ended_ = false;
  bool closing_ = false;
  bool ended_ = false;
};

}  // namespace berth::streaming
