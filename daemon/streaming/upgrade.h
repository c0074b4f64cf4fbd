// What a request to a streaming URL is answered: which protocol it is switched to, or why not.
// Pure.
//
// Source: Kubernetes remotecommand and portforward protocols; RFC 9110 7.8, RFC 6455 4.2.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "boost/beast/http/empty_body.hpp"
#include "boost/beast/http/message.hpp"

#include "daemon/streaming/token_table.h"
#include "daemon/streaming/websocket_channels.h"

namespace berth::streaming {

using HttpRequest = boost::beast::http::request<boost::beast::http::empty_body>;

// What the version of the remote command protocol decides.
struct CommandProtocol {
  bool json_status = false;  // v4 and later
  bool resize = false;       // v3 and later
};

struct Upgrade {
  enum class Kind { kReject, kSpdy, kWebSocket, kSpdyOverWebSocket };
  Kind kind = Kind::kReject;
  std::string protocol;  // as it is told to the client; may be empty over WebSocket
  CommandProtocol command;
  ChannelCoding coding;  // kWebSocket

  // kReject.
  int status = 400;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> headers;
};

// What kind of streams (`exec`, `attach`, `portforward`) and which token a request's target names;
// empty for anything else.
struct StreamTarget {
  std::string kind, token;
};
StreamTarget ParseTarget(std::string_view target);
// Whether a request was made for such a URL.
bool IsKind(const StreamRequest& request, std::string_view kind);

Upgrade Negotiate(const HttpRequest& http, const StreamRequest& request);

// The answer of status `status`, with a text for people; the connection is closed after it.
std::string HttpAnswer(int status, std::string_view text,
                       const std::vector<std::pair<std::string, std::string>>& headers = {});
// 101, for SPDY.
std::string SpdyAnswer(const Upgrade& upgrade);

}  // namespace berth::streaming
