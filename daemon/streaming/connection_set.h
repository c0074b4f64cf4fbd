// ConnectionSet: the connections that are, within limits: those whose request is still to come, and
// those with a session. Looks at everybody's time limits every kTick, as long as there is anybody.
//
// Threads: the event thread. Ownership: owns the connections; each takes itself out when it ends.
#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <unordered_map>

#include "boost/asio/steady_timer.hpp"

namespace berth::streaming {

class Connection {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~Connection() = default;
  virtual void Tick(Clock::time_point now) = 0;
  // Closes the socket and ends the session, now.
  virtual void Abort() = 0;
};

class ConnectionSet {
 public:
  explicit ConnectionSet(boost::asio::io_context& io) : timer_(io) {}

  // A connection without a request yet. Of more than kMaxPendingConnections the oldest is aborted,
  // so that those who never ask keep nobody out.
  void AddPending(std::shared_ptr<Connection> connection);
  // There are kMaxSessions.
  bool is_full() const;
  void AddSession(std::shared_ptr<Connection> connection);
  void Remove(Connection* connection);
  void AbortAll();
  size_t size() const { return members_.size(); }

 private:
  struct Member {
    std::shared_ptr<Connection> connection;
    bool pending;
    std::list<Connection*>::iterator place;  // in pending_
  };
  void StartTicking();

  boost::asio::steady_timer timer_;
  bool ticking_ = false;
  std::unordered_map<Connection*, Member> members_;
  std::list<Connection*> pending_;  // the oldest first
};

}  // namespace berth::streaming
