// Requests to streaming URLs: the header of one, as it comes.
#include "daemon/streaming/upgrade.h"

#include "boost/beast/http/parser.hpp"

#include "daemon/streaming/limits.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::streaming {

namespace {

// The answer is what it says it is: one header, and a text of the length that it tells.
void CheckAnswer(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  BERTH_CHECK(end != std::string::npos);
  for (const char c : answer.substr(0, end)) {
    BERTH_CHECK(c == '\r' || c == '\n' || static_cast<unsigned char>(c) >= ' ');
  }
  boost::beast::http::response_parser<boost::beast::http::empty_body> parser;
  boost::system::error_code error;
  parser.put(boost::asio::buffer(answer.substr(0, end + 4)), error);
  BERTH_CHECK(parser.is_header_done());
}

}  // namespace

FUZZ_TARGET(upgrade) {
  namespace http = boost::beast::http;
  http::request_parser<http::empty_body> parser;
  parser.header_limit(kMaxRequestHeaderBytes);
  boost::system::error_code error;
  parser.put(boost::asio::buffer(input.data(), input.size()), error);
  if (error || !parser.is_header_done()) {
    return;
  }
  const HttpRequest& http_request = parser.get();
  const StreamTarget target =
      ParseTarget({http_request.target().data(), http_request.target().size()});
  const StreamRequest requests[] = {ExecRequest(), AttachRequest(), PortForwardRequest{"p", {}},
                                    PortForwardRequest{"p", {80}}};
  for (const StreamRequest& request : requests) {
    (void)IsKind(request, target.kind);
    const Upgrade upgrade = Negotiate(http_request, request);
    CheckAnswer(upgrade.kind == Upgrade::Kind::kSpdy
                    ? SpdyAnswer(upgrade)
                    : HttpAnswer(upgrade.status, upgrade.reason, upgrade.headers));
  }
}

}  // namespace berth::streaming
