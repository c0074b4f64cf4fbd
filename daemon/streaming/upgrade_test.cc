#include "daemon/streaming/upgrade.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "daemon/streaming/limits.h"

namespace berth::streaming {
namespace {

using testing::HasSubstr;

HttpRequest Spdy(const std::vector<std::string>& protocols) {
  HttpRequest request;
  request.method_string("POST");
  request.set("Connection", "keep-alive, upgrade");
  request.set("Upgrade", "spdy/3.1");
  for (const std::string& protocol : protocols) {
    request.insert("X-Stream-Protocol-Version", protocol);
  }
  return request;
}

HttpRequest WebSocket(const std::string& protocols) {
  HttpRequest request;
  request.version(11);
  request.method_string("GET");
  request.set("Host", "test");
  request.set("Connection", "Upgrade");
  request.set("Upgrade", "websocket");
  request.set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
  request.set("Sec-WebSocket-Version", "13");
  if (!protocols.empty()) {
    request.set("Sec-WebSocket-Protocol", protocols);
  }
  return request;
}

TEST(UpgradeTest, TheClientsFirstProtocolThatIsServedIsChosen) {
  const struct {
    std::vector<std::string> offered;
    std::string chosen;
    bool json, resize;
  } cases[] = {
      {{"v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"},
       "v4.channel.k8s.io",
       true,
       true},
      {{"v3.channel.k8s.io, v4.channel.k8s.io"}, "v3.channel.k8s.io", false, true},
      {{"v2.channel.k8s.io"}, "v2.channel.k8s.io", false, false},
      {{"channel.k8s.io"}, "channel.k8s.io", false, false},
  };
  for (const auto& c : cases) {
    const Upgrade upgrade = Negotiate(Spdy(c.offered), ExecRequest{});
    EXPECT_EQ(upgrade.kind, Upgrade::Kind::kSpdy);
    EXPECT_EQ(upgrade.protocol, c.chosen);
    EXPECT_EQ(upgrade.command.json_status, c.json);
    EXPECT_EQ(upgrade.command.resize, c.resize);
  }
  EXPECT_EQ(Negotiate(Spdy({"portforward.k8s.io"}), PortForwardRequest{}).protocol,
            "portforward.k8s.io");
}

TEST(UpgradeTest, WhereNoneFitsTheAnswerNamesThoseThatWould) {
  const Upgrade upgrade = Negotiate(Spdy({"v9.channel.k8s.io"}), AttachRequest{});
  EXPECT_EQ(upgrade.kind, Upgrade::Kind::kReject);
  EXPECT_EQ(upgrade.status, 403);
  const std::string answer = HttpAnswer(upgrade.status, upgrade.reason, upgrade.headers);
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 403 Forbidden\r\n"));
  EXPECT_THAT(answer, HasSubstr("X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io\r\n"));
  EXPECT_THAT(answer, HasSubstr("X-Accepted-Stream-Protocol-Versions: channel.k8s.io\r\n"));
  EXPECT_THAT(answer, HasSubstr("client offers 'v9.channel.k8s.io'"));
  EXPECT_EQ(Negotiate(Spdy({"portforward.k8s.io"}), ExecRequest{}).status, 403);
  EXPECT_EQ(Negotiate(Spdy({"v4.channel.k8s.io"}), PortForwardRequest{}).status, 403);
  EXPECT_EQ(Negotiate(WebSocket("v6.channel.k8s.io"), ExecRequest{}).status, 403);
  EXPECT_EQ(Negotiate(WebSocket("v5.channel.k8s.io"), PortForwardRequest{"p", {80}}).status, 403);
}

TEST(UpgradeTest, WithoutAnUpgradeOrAProtocolItIsABadRequest) {
  EXPECT_EQ(Negotiate(Spdy({}), ExecRequest{}).status, 400);
  EXPECT_EQ(Negotiate(HttpRequest(), ExecRequest{}).status, 400);
  HttpRequest other = Spdy({"v4.channel.k8s.io"});
  other.set("Upgrade", "SPDY/2");
  EXPECT_EQ(Negotiate(other, ExecRequest{}).status, 400);
}

TEST(UpgradeTest, WebSocketProtocolsDecideTheCoding) {
  const struct {
    std::string offered, chosen;
    bool json, base64, close_signal;
  } cases[] = {
      {"v5.channel.k8s.io, v4.channel.k8s.io", "v5.channel.k8s.io", true, false, true},
      {"v4.channel.k8s.io", "v4.channel.k8s.io", true, false, false},
      {"x, v4.base64.channel.k8s.io", "v4.base64.channel.k8s.io", true, true, false},
      {"channel.k8s.io", "channel.k8s.io", false, false, false},
      {"base64.channel.k8s.io", "base64.channel.k8s.io", false, true, false},
      {"", "", false, false, false},
  };
  for (const auto& c : cases) {
    const Upgrade upgrade = Negotiate(WebSocket(c.offered), ExecRequest{});
    EXPECT_EQ(upgrade.kind, Upgrade::Kind::kWebSocket) << c.offered;
    EXPECT_EQ(upgrade.protocol, c.chosen);
    EXPECT_EQ(upgrade.command.json_status, c.json) << c.offered;
    EXPECT_TRUE(upgrade.command.resize);
    EXPECT_EQ(upgrade.coding.base64, c.base64) << c.offered;
    EXPECT_EQ(upgrade.coding.close_signal, c.close_signal) << c.offered;
  }
}

TEST(UpgradeTest, PortsOverWebSocketAreNamedBeforehand) {
  const HttpRequest request = WebSocket("v4.channel.k8s.io");
  EXPECT_EQ(Negotiate(request, PortForwardRequest{"p", {80}}).kind, Upgrade::Kind::kWebSocket);
  const Upgrade none = Negotiate(request, PortForwardRequest{"p", {}});
  EXPECT_EQ(none.status, 400);
  EXPECT_THAT(none.reason, HasSubstr("names none"));
  const std::vector<uint16_t> many(kMaxWebSocketPorts + 1, 80);
  EXPECT_EQ(Negotiate(request, PortForwardRequest{"p", many}).status, 400);
}

TEST(UpgradeTest, SpdyInsideAWebSocketIsForPortForwarding) {
  const HttpRequest request = WebSocket("SPDY/3.1+portforward.k8s.io");
  const Upgrade upgrade = Negotiate(request, PortForwardRequest{"p", {}});
  EXPECT_EQ(upgrade.kind, Upgrade::Kind::kSpdyOverWebSocket);
  EXPECT_EQ(upgrade.protocol, "SPDY/3.1+portforward.k8s.io");
  EXPECT_EQ(Negotiate(request, ExecRequest{}).status, 403);
}

TEST(UpgradeTest, TargetsAreAKindAndAToken) {
  EXPECT_EQ(ParseTarget("/exec/abc").kind, "exec");
  EXPECT_EQ(ParseTarget("/exec/abc").token, "abc");
  EXPECT_EQ(ParseTarget("/attach/abc?x=/y").token, "abc");
  for (const char* other : {"", "/", "exec/abc", "*", "/exec", "?/exec/a"}) {
    EXPECT_EQ(ParseTarget(other).token, "") << other;
  }
  EXPECT_TRUE(IsKind(ExecRequest{}, "exec"));
  EXPECT_TRUE(IsKind(PortForwardRequest{}, "portforward"));
  EXPECT_FALSE(IsKind(ExecRequest{}, "attach"));
}

}  // namespace
}  // namespace berth::streaming
