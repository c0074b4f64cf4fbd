#include "daemon/streaming/connection_set.h"

#include <utility>
#include <vector>

#include "daemon/streaming/limits.h"

namespace berth::streaming {

void ConnectionSet::AddPending(std::shared_ptr<Connection> connection) {
  if (pending_.size() >= kMaxPendingConnections) {
    const std::shared_ptr<Connection> oldest = members_.at(pending_.front()).connection;
    oldest->Abort();
    Remove(oldest.get());
  }
  Connection* key = connection.get();
  members_[key] = {std::move(connection), true, pending_.insert(pending_.end(), key)};
  StartTicking();
}

bool ConnectionSet::is_full() const { return members_.size() - pending_.size() >= kMaxSessions; }

void ConnectionSet::AddSession(std::shared_ptr<Connection> connection) {
  Connection* key = connection.get();
  members_[key] = {std::move(connection), false, pending_.end()};
  StartTicking();
}

void ConnectionSet::Remove(Connection* connection) {
  const auto found = members_.find(connection);
  if (found == members_.end()) {
    return;
  }
  if (found->second.pending) {
    pending_.erase(found->second.place);
  }
  const std::shared_ptr<Connection> keep = std::move(found->second.connection);
  members_.erase(found);
}

void ConnectionSet::AbortAll() {
  std::vector<std::shared_ptr<Connection>> all;
  for (const auto& [key, member] : members_) {
    all.push_back(member.connection);
  }
  for (const std::shared_ptr<Connection>& connection : all) {
    connection->Abort();
  }
}

void ConnectionSet::StartTicking() {
  if (ticking_) {
    return;
  }
  ticking_ = true;
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& error) {
    ticking_ = false;
    if (error) {
      return;
    }
    std::vector<std::shared_ptr<Connection>> all;
    for (const auto& [key, member] : members_) {
      all.push_back(member.connection);
    }
    const Connection::Clock::time_point now = Connection::Clock::now();
    for (const std::shared_ptr<Connection>& connection : all) {
      connection->Tick(now);
    }
    if (!members_.empty()) {
      StartTicking();
    }
  });
}

}  // namespace berth::streaming
