#include "daemon/streaming/session_connection.h"

#include "daemon/streaming/local_peer.h"
#include "lib/base/log.h"

namespace berth::streaming {

void SessionConnection::Tick(Clock::time_point now) {
  const bool idle = idle_timeout_.count() > 0 && now - last_data_ >= idle_timeout_;
  if (idle) {
    base::Log("streaming").info("idle connection closed after_s={}", idle_timeout_.count());
  }
  // Who is not read from does not show its end in the ordinary way.
  const bool gone = is_paused() && (stream().PeerHasClosed() ||
                                    IsPeerAbandoned(stream().socket().native_handle()));
  if (idle || gone || now >= linger_until_) {
    End();
  } else if (!session_ended_) {
    session_->Tick(now);
  }
}

void SessionConnection::Close() {
  if (!closing_ && !ended_) {
    closing_ = true;
    SayGoodbye();
  }
}

void SessionConnection::EndSession() {
  if (!session_ended_) {
    session_ended_ = true;
    session_->OnGone();
  }
}

void SessionConnection::End() {
  if (ended_) {
    return;
  }
  ended_ = true;
  const std::shared_ptr<SessionConnection> self = shared_from_this();
  EndSession();
  stream().Close();
  set_.Remove(this);
}

}  // namespace berth::streaming
