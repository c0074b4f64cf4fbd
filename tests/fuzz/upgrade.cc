// Requests to streaming URLs: the header of one, as it comes.
#include "daemon/streaming/upgrade.h"

#include "daemon/streaming/testing/request_text.h"
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
  BERTH_CHECK(IsAnswerHeader(answer.substr(0, end + 4)));
}

}  // namespace

FUZZ_TARGET(upgrade) {
  const std::optional<HttpRequest> http_request = ParseRequest(input);
  if (!http_request) {
    return;
  }
  const StreamTarget target =
      ParseTarget({http_request->target().data(), http_request->target().size()});
  const StreamRequest requests[] = {ExecRequest(), AttachRequest(), PortForwardRequest{"p", {}},
                                    PortForwardRequest{"p", {80}}};
  for (const StreamRequest& request : requests) {
    (void)IsKind(request, target.kind);
    const Upgrade upgrade = Negotiate(*http_request, request);
    CheckAnswer(upgrade.kind == Upgrade::Kind::kSpdy
                    ? SpdyAnswer(upgrade)
                    : HttpAnswer(upgrade.status, upgrade.reason, upgrade.headers));
  }
}

}  // namespace berth::streaming
