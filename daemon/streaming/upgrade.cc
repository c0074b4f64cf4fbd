#include "daemon/streaming/upgrade.h"

#include <algorithm>
#include <optional>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "boost/beast/http/field.hpp"
#include "boost/beast/http/status.hpp"
#include "boost/beast/websocket/rfc6455.hpp"
#include "fmt/format.h"

#include "daemon/streaming/limits.h"

namespace berth::streaming {

namespace {

namespace http = boost::beast::http;

constexpr char kSpdy[] = "SPDY/3.1";
constexpr char kVersionHeader[] = "X-Stream-Protocol-Version";
constexpr char kAcceptedHeader[] = "X-Accepted-Stream-Protocol-Versions";

struct Protocol {
  std::string_view name;
  CommandProtocol command;
  ChannelCoding coding;
};

constexpr Protocol kSpdyCommand[] = {
    {"v4.channel.k8s.io", {true, true}, {}},
    {"v3.channel.k8s.io", {false, true}, {}},
    {"v2.channel.k8s.io", {false, false}, {}},
    {"channel.k8s.io", {false, false}, {}},
};
constexpr Protocol kSpdyPortForward[] = {{"portforward.k8s.io", {}, {}}};
constexpr Protocol kWebSocketCommand[] = {
    {"v5.channel.k8s.io", {true, true}, {false, true}},
    {"v4.channel.k8s.io", {true, true}, {}},
    {"v4.base64.channel.k8s.io", {true, true}, {true, false}},
    {"channel.k8s.io", {false, true}, {}},
    {"base64.channel.k8s.io", {false, true}, {true, false}},
    {"", {false, true}, {}},
};
constexpr Protocol kWebSocketPortForward[] = {
    {"v4.channel.k8s.io", {}, {}},
    {"v4.base64.channel.k8s.io", {}, {true, false}},
    {"", {}, {}},
};

constexpr Protocol kTunnelledPortForward = {"SPDY/3.1+portforward.k8s.io", {}, {}};

struct ProtocolList {
  const Protocol* first;
  size_t count;
  const Protocol* begin() const { return first; }
  const Protocol* end() const { return first + count; }
};

template <size_t N>
ProtocolList ListOf(const Protocol (&protocols)[N]) {
  return {protocols, N};
}

// A header's values: of each of its lines, and of lists in them.
std::vector<std::string> Values(const HttpRequest& request, std::string_view name) {
  std::vector<std::string> values;
  const auto [begin, end] =
      request.equal_range(boost::beast::string_view(name.data(), name.size()));
  for (auto field = begin; field != end; ++field) {
    const std::string line(field->value().data(), field->value().size());
    for (const absl::string_view part : absl::StrSplit(line, ',')) {
      const absl::string_view value = absl::StripAsciiWhitespace(part);
      if (!value.empty()) {
        values.emplace_back(value);
      }
    }
  }
  return values;
}

bool HasValue(const HttpRequest& request, std::string_view name, std::string_view wanted) {
  const std::vector<std::string> values = Values(request, name);
  return std::any_of(values.begin(), values.end(), [&](const std::string& value) {
    return absl::EqualsIgnoreCase(value, absl::string_view(wanted.data(), wanted.size()));
  });
}

std::optional<Protocol> Choose(const std::vector<std::string>& offered, ProtocolList served) {
  for (const std::string& name : offered) {
    for (const Protocol& protocol : served) {
      if (protocol.name == name) {
        return protocol;
      }
    }
  }
  return std::nullopt;
}

std::string Join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "'" : ", '") + name + "'";
  }
  return text;
}

Upgrade Reject(int status, std::string reason) {
  Upgrade upgrade;
  upgrade.status = status;
  upgrade.reason = std::move(reason);
  return upgrade;
}

Upgrade RejectProtocols(const std::vector<std::string>& offered, ProtocolList served) {
  std::vector<std::string> names;
  for (const Protocol& protocol : served) {
    if (!protocol.name.empty()) {
      names.emplace_back(protocol.name);
    }
  }
  Upgrade upgrade =
      Reject(403, fmt::format("unable to upgrade: no protocol fits: client offers {}, "
                              "server has {}",
                              Join(offered), Join(names)));
  for (const std::string& name : names) {
    upgrade.headers.emplace_back(kAcceptedHeader, name);
  }
  return upgrade;
}

Upgrade Accept(Upgrade::Kind kind, const Protocol& protocol) {
  Upgrade upgrade;
  upgrade.kind = kind;
  upgrade.protocol = protocol.name;
  upgrade.command = protocol.command;
  upgrade.coding = protocol.coding;
  return upgrade;
}

Upgrade NegotiateSpdy(const HttpRequest& http, const StreamRequest& request) {
  const ProtocolList served = std::holds_alternative<PortForwardRequest>(request)
                                  ? ListOf(kSpdyPortForward)
                                  : ListOf(kSpdyCommand);
  const std::vector<std::string> offered = Values(http, kVersionHeader);
  if (offered.empty()) {
    return Reject(400, fmt::format("unable to upgrade: the header {} is missing", kVersionHeader));
  }
  const std::optional<Protocol> chosen = Choose(offered, served);
  return chosen ? Accept(Upgrade::Kind::kSpdy, *chosen) : RejectProtocols(offered, served);
}

Upgrade NegotiateWebSocket(const HttpRequest& http, const StreamRequest& request) {
  const auto* forward = std::get_if<PortForwardRequest>(&request);
  const ProtocolList served =
      forward != nullptr ? ListOf(kWebSocketPortForward) : ListOf(kWebSocketCommand);
  std::vector<std::string> offered = Values(http, "Sec-WebSocket-Protocol");
  if (offered.empty()) {
    offered.emplace_back();
  }
  if (forward != nullptr && Choose(offered, {&kTunnelledPortForward, 1})) {
    return Accept(Upgrade::Kind::kSpdyOverWebSocket, kTunnelledPortForward);
  }
  const std::optional<Protocol> chosen = Choose(offered, served);
  if (!chosen) {
    return RejectProtocols(offered, served);
  }
  if (forward != nullptr && forward->ports.empty()) {
    return Reject(400,
                  "unable to upgrade: over WebSocket the ports to forward must be named in the "
                  "PortForward request, and it names none; use SPDY or name them");
  }
  if (forward != nullptr && forward->ports.size() > kMaxWebSocketPorts) {
    return Reject(400, fmt::format("unable to upgrade: {} ports to forward, more than the {} that "
                                   "one WebSocket connection carries",
                                   forward->ports.size(), kMaxWebSocketPorts));
  }
  return Accept(Upgrade::Kind::kWebSocket, *chosen);
}

}  // namespace

StreamTarget ParseTarget(std::string_view target) {
  target = target.substr(0, target.find('?'));
  if (target.empty() || target[0] != '/') {
    return {};
  }
  target.remove_prefix(1);
  const size_t slash = target.find('/');
  if (slash == std::string_view::npos) {
    return {};
  }
  return {std::string(target.substr(0, slash)), std::string(target.substr(slash + 1))};
}

bool IsKind(const StreamRequest& request, std::string_view kind) {
  constexpr std::string_view kKinds[] = {"exec", "attach", "portforward"};
  return kKinds[request.index()] == kind;
}

Upgrade Negotiate(const HttpRequest& http, const StreamRequest& request) {
  if (HasValue(http, "Connection", "upgrade") && HasValue(http, "Upgrade", kSpdy)) {
    return NegotiateSpdy(http, request);
  }
  if (boost::beast::websocket::is_upgrade(http)) {
    return NegotiateWebSocket(http, request);
  }
  Upgrade upgrade = Reject(
      400, fmt::format("unable to upgrade: this URL serves {} and WebSocket; the request must have "
                       "the headers 'Connection: Upgrade' and 'Upgrade: {}' (or a WebSocket's)",
                       kSpdy, kSpdy));
  return upgrade;
}

std::string HttpAnswer(int status, std::string_view text,
                       const std::vector<std::pair<std::string, std::string>>& headers) {
  const auto phrase = http::obsolete_reason(static_cast<http::status>(status));
  std::string answer =
      fmt::format("HTTP/1.1 {} {}\r\n", status, std::string_view(phrase.data(), phrase.size()));
  for (const auto& [name, value] : headers) {
    answer += fmt::format("{}: {}\r\n", name, value);
  }
  answer += fmt::format(
      "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n"
      "{}\n",
      text.size() + 1, text);
  return answer;
}

std::string SpdyAnswer(const Upgrade& upgrade) {
  return fmt::format(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {}\r\n{}: {}\r\n\r\n",
      kSpdy, kVersionHeader, upgrade.protocol);
}

}  // namespace berth::streaming
