// SessionContext: what every session needs of the server. Borrowed; outlives the sessions.
#pragma once

#include <chrono>

#include "boost/asio/io_context.hpp"

#include "daemon/streaming/backend.h"
#include "daemon/streaming/backend_calls.h"

namespace berth::streaming {

struct SessionContext {
  boost::asio::io_context& io;
  Backend& backend;
  BackendCalls& calls;
  std::chrono::seconds creation_timeout;
};

}  // namespace berth::streaming
