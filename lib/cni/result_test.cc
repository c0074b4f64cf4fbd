#include "lib/cni/result.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::cni {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(CniResult, Current) {
  const auto result = ParseResult(R"({
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "b0", "mac": "00:11:22:33:44:55"},
                   {"name": "veth1", "mac": "1"},
                   {"name": "eth0", "mac": "2", "sandbox": "/run/netns/x", "mtu": 1400, "socketPath": "/s"}],
    "ips": [{"interface": 2, "address": "10.1.0.5/16", "gateway": "10.1.0.1"},
            {"interface": 2, "address": "fd00::5/64"},
            {"interface": 0, "address": "10.1.0.1/16"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400}, {"dst": "::/0"}],
    "dns": {"nameservers": ["10.0.0.10"], "domain": "d", "search": ["a", "b"], "options": ["ndots:5"]}})",
                                  "1.0.0");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->cni_version, "1.1.0");
  ASSERT_EQ(result->interfaces.size(), 3u);
  EXPECT_EQ(result->interfaces[2].mtu, 1400);
  EXPECT_EQ(result->interfaces[2].sandbox, "/run/netns/x");
  ASSERT_EQ(result->ips.size(), 3u);
  EXPECT_EQ(result->ips[0].gateway, "10.1.0.1");
  EXPECT_EQ(result->ips[0].interface, 2);
  EXPECT_THAT(result->PodIps(), ElementsAre("10.1.0.5", "fd00::5"));  // not the bridge's own
  ASSERT_EQ(result->routes.size(), 2u);
  EXPECT_EQ(result->routes[0].gateway, "10.1.0.1");
  EXPECT_THAT(result->dns.search, ElementsAre("a", "b"));
}

TEST(CniResult, EarlierVersions) {
  const auto v4 = ParseResult(
      R"({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.1.0.5/16"}], "dns": {}})",
      "");
  ASSERT_TRUE(v4.ok()) << v4.status();
  EXPECT_THAT(v4->PodIps(), ElementsAre("10.1.0.5"));
  const auto v2 = ParseResult(R"({"cniVersion": "0.2.0",
      "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
      "ip6": {"ip": "fd00::5/64", "routes": []}, "dns": {"nameservers": ["1.1.1.1"]}})",
                              "");
  ASSERT_TRUE(v2.ok()) << v2.status();
  EXPECT_THAT(v2->PodIps(), ElementsAre("10.1.0.5", "fd00::5"));
  EXPECT_EQ(v2->routes.size(), 1u);
  EXPECT_THAT(v2->dns.nameservers, ElementsAre("1.1.1.1"));
  const auto unnamed = ParseResult(R"({"ips": [{"address": "10.1.0.5/16"}]})", "0.3.1");
  ASSERT_TRUE(unnamed.ok());
  EXPECT_EQ(unnamed->cni_version, "0.3.1");
  EXPECT_THAT(unnamed->PodIps(), ElementsAre("10.1.0.5"));
}

TEST(CniResult, AddressesWithoutASandboxAreThePods) {
  const auto result = ParseResult(
      R"({"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}], "ips": [{"address": "10.1.0.5/16", "interface": 0}]})",
      "");
  EXPECT_THAT(result->PodIps(), ElementsAre("10.1.0.5"));
  EXPECT_THAT(ParseResult(R"({"cniVersion": "1.0.0"})", "")->PodIps(), IsEmpty());
  EXPECT_FALSE(
      ParseResult(
          R"({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/16", "interface": -1}]})", "")
          ->ips[0]
          .interface);
}

TEST(CniResult, NotResults) {
  std::string many;
  for (int i = 0; i < 257; ++i) {
    many += std::string(i == 0 ? "" : ",") + "{}";
  }
  const std::string kCases[] = {
      "",
      "garbage",
      "[]",
      "\"text\"",
      R"({"cniVersion": "7.0.0"})",
      R"({"cniVersion": 1})",
      R"({"cniVersion": "1.0.0", "ips": {}})",
      R"({"cniVersion": "1.0.0", "ips": [1]})",
      R"({"cniVersion": "1.0.0", "ips": [{}]})",
      R"({"cniVersion": "1.0.0", "ips": [{"address": 5}]})",
      R"({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5"}]})",
      R"({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/33"}]})",
      R"({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/x"}]})",
      R"({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0/8"}]})",
      R"({"cniVersion": "1.0.0", "ips": [{"address": "fd00::5/129"}]})",
      R"({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/16", "interface": 0}]})",
      R"({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/16", "interface": "0"}]})",
      R"({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/16", "interface": 18446744073709551615}]})",
      R"({"cniVersion": "1.0.0", "dns": []})",
      R"({"cniVersion": "1.0.0", "dns": {"nameservers": "x"}})",
      R"({"cniVersion": "1.0.0", "interfaces": [{"name": 1}]})",
      R"({"cniVersion": "1.0.0", "interfaces": [)" + many + "]}",
      R"({"cniVersion": "0.2.0", "ip4": "10.1.0.5"})",
      R"({"cniVersion": "0.2.0", "ip4": {}})",
      R"({"cniVersion": "1.0.0", "x": )" + std::string(500000, '[') + std::string(500000, ']') +
          "}",
      std::string(500000, '{'),
  };
  for (const std::string& text : kCases) {
    EXPECT_EQ(ParseResult(text, "1.0.0").status().code(), absl::StatusCode::kInvalidArgument)
        << text.substr(0, 80);
  }
}

TEST(CniResult, RendersEachForm) {
  Result result;
  result.interfaces = {{"eth0", "m", "/ns", 1500}};
  result.ips = {{"10.1.0.5/16", "10.1.0.1", 0}, {"fd00::5/64", "", std::nullopt}};
  result.routes = {{"0.0.0.0/0", "10.1.0.1"}, {"::/0", ""}};
  result.dns.nameservers = {"1.1.1.1"};
  for (const char* version : {"0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    const auto back = ParseResult(RenderResult(result, version), "");
    ASSERT_TRUE(back.ok()) << version << back.status();
    EXPECT_EQ(back->cni_version, version);
    EXPECT_THAT(back->PodIps(), ElementsAre("10.1.0.5", "fd00::5")) << version;
    EXPECT_EQ(back->routes.size(), 2u) << version;
    EXPECT_THAT(back->dns.nameservers, ElementsAre("1.1.1.1"));
  }
  EXPECT_THAT(RenderResult(result, "0.4.0"), HasSubstr(R"("version":"6")"));
  EXPECT_THAT(RenderResult(result, "1.0.0"), ::testing::Not(HasSubstr("mtu")));
  EXPECT_THAT(RenderResult(result, "1.1.0"), HasSubstr(R"("mtu":1500)"));
}

TEST(CniResult, PluginErrors) {
  const auto error = ParsePluginError(
      R"({"cniVersion": "1.0.0", "code": 11, "msg": "later", "details": "busy\nbox"})");
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, 11);
  EXPECT_EQ(error->message, "later");
  EXPECT_EQ(error->details, "busy box");
  EXPECT_TRUE(ParsePluginError(R"({"msg": "only"})").has_value());
  EXPECT_TRUE(ParsePluginError(R"({"code": 5})").has_value());
  for (const char* text : {"", "x", "{}", "[]", R"({"code": "5"})", R"({"msg": 5})"}) {
    EXPECT_FALSE(ParsePluginError(text).has_value()) << text;
  }
  EXPECT_EQ(ParsePluginError(R"({"code": 99999999999, "msg": "x"})")->code, 0);
  EXPECT_LT(ParsePluginError(R"({"code": 1, "msg": ")" + std::string(100000, 'x') + "\"}")
                ->message.size(),
            1000u);
}

}  // namespace
}  // namespace berth::cni
