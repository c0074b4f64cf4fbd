#include "lib/cni/network_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::cni {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(NetworkConfig, List) {
  const std::string text = R"({
    "cniVersion": "1.0.0", "name": "pods", "disableCheck": true, "disableGC": "true",
    "plugins": [
      {"type": "bridge", "bridge": "b0", "capabilities": {"ips": true, "mac": false}, "extra": {"deep": [1, 2.5, null]}},
      {"type": "portmap", "capabilities": {"portMappings": true}}
    ]})";
  const auto network = ParseNetworkConfig(text);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(network->name, "pods");
  EXPECT_EQ(network->cni_version, "1.0.0");
  EXPECT_TRUE(network->disable_check);
  EXPECT_TRUE(network->disable_gc);
  EXPECT_EQ(network->bytes, text);
  ASSERT_EQ(network->plugins.size(), 2u);
  EXPECT_EQ(network->plugins[0].type, "bridge");
  EXPECT_THAT(network->plugins[0].capabilities, ElementsAre("ips"));
  EXPECT_THAT(network->plugins[0].json, HasSubstr(R"("extra":{"deep":[1,2.5,null]})"));
  EXPECT_EQ(network->plugins[1].type, "portmap");
}

TEST(NetworkConfig, SinglePluginIsAListOfOne) {
  const auto network = ParseNetworkConfig(R"({"name": "n", "type": "macvlan", "master": "eth0"})");
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(network->cni_version, "0.1.0");
  ASSERT_EQ(network->plugins.size(), 1u);
  EXPECT_EQ(network->plugins[0].type, "macvlan");
}

TEST(NetworkConfig, HighestKnownVersion) {
  const auto version = [](const std::string& members) {
    const auto network = ParseNetworkConfig(R"({"name": "n", "type": "t", )" + members + "}");
    return network.ok() ? network->cni_version : std::string(network.status().message());
  };
  EXPECT_EQ(version(R"("cniVersions": ["0.4.0", "1.1.0", "1.0.0"])"), "1.1.0");
  EXPECT_EQ(version(R"("cniVersion": "0.3.1", "cniVersions": ["1.0.0", "9.0.0"])"), "1.0.0");
  EXPECT_EQ(version(R"("cniVersion": "0.3.1")"), "0.3.1");
  EXPECT_THAT(version(R"("cniVersion": "2.0.0")"), HasSubstr("'2.0.0' is unknown"));
  EXPECT_THAT(version(R"("cniVersion": 1)"), HasSubstr("'cniVersion' is not a string"));
}

TEST(NetworkConfig, NotValid) {
  const struct {
    std::string text;
    const char* says;
  } kCases[] = {
      {"", "not JSON"},
      {"{", "not JSON"},
      {"[]", "not a JSON object"},
      {"null", "not a JSON object"},
      {R"({"type": "t"})", "name ''"},
      {R"({"name": "../x", "type": "t"})", "name '../x'"},
      {R"({"name": "a/b", "type": "t"})", "name 'a/b'"},
      {R"({"name": ".hidden", "type": "t"})", "name '.hidden'"},
      {R"({"name": 1, "type": "t"})", "'name' is not a string"},
      {R"({"name": "n"})", "plugin 1: it has no 'type'"},
      {R"({"name": "n", "plugins": []})", "list of 1 to"},
      {R"({"name": "n", "plugins": {}})", "list of 1 to"},
      {R"({"name": "n", "plugins": [1]})", "plugin 1: not an object"},
      {R"({"name": "n", "plugins": [{"type": "a"}, {}]})", "plugin 2: it has no 'type'"},
      {R"({"name": "n", "type": "../../bin/sh"})", "not the name of a program"},
      {R"({"name": "n", "type": ".."})", "not the name of a program"},
      {R"({"name": "n", "type": "t", "capabilities": []})", "'capabilities' is not an object"},
      {R"({"name": "n", "type": "t", "capabilities": {"x": "yes"}})", "capability 'x'"},
      {R"({"name": "n", "type": "t", "disableCheck": 3})", "'disableCheck'"},
      {R"({"name": "n", "type": "t", "x": )" + std::string(70, '[') + std::string(70, ']') + "}",
       "nested deeper"},
      {std::string(1 << 20, '['), "nested"},
      {std::string((1 << 20) + 1, ' '), "longer than"},
      {"{\"name\": \"\xff\"}", "not JSON"},
  };
  for (const auto& c : kCases) {
    const auto network = ParseNetworkConfig(c.text);
    const std::string shown = c.text.substr(0, 80);
    ASSERT_EQ(network.status().code(), absl::StatusCode::kInvalidArgument) << shown;
    const std::string message(network.status().message());
    if (shown.substr(0, 3) != "[[[") {  // not JSON either: whichever is seen first
      EXPECT_THAT(message, HasSubstr(c.says)) << shown;
    }
    EXPECT_LT(message.size(), 500u);
    EXPECT_THAT(message, Not(HasSubstr("\n")));
  }
}

TEST(NetworkConfig, TooManyPlugins) {
  std::string list;
  for (int i = 0; i < 33; ++i) {
    list += std::string(i == 0 ? "" : ",") + R"({"type": "t"})";
  }
  EXPECT_FALSE(ParseNetworkConfig(R"({"name": "n", "plugins": [)" + list + "]}").ok());
}

TEST(NetworkConfig, CompareVersions) {
  EXPECT_LT(CompareVersions("0.4.0", "1.0.0"), 0);
  EXPECT_GT(CompareVersions("0.10.0", "0.4.0"), 0);
  EXPECT_EQ(CompareVersions("1.0.0", "1.0"), 0);
  EXPECT_LT(CompareVersions("", "0.1.0"), 0);
  EXPECT_EQ(CompareVersions("x", ""), 0);
}

}  // namespace
}  // namespace berth::cni
