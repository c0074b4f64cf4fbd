#include "lib/registry/proxy.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace berth::registry {
namespace {

using Env = std::map<std::string, std::string>;

std::string Choose(const std::string& url, const Env& env) {
  return ProxyFor(*Url::Parse(url), [&](const char* name) {
    const auto found = env.find(name);
    return found == env.end() ? "" : found->second;
  });
}

TEST(ProxyTest, BySchemeCapitalsFirst) {
  const Env env = {{"HTTPS_PROXY", "http://s:1"},
                   {"https_proxy", "http://lower:1"},
                   {"http_proxy", "plain:2"},
                   {"ALL_PROXY", "http://all:3"}};
  EXPECT_EQ(Choose("https://quay.io/v2/", env), "http://s:1");
  EXPECT_EQ(Choose("http://quay.io/v2/", env), "http://plain:2");
  EXPECT_EQ(Choose("https://quay.io/", {{"https_proxy", "socks5://x:1"}}), "socks5h://x:1");
  EXPECT_EQ(Choose("https://quay.io/", {{"https_proxy", "socks5h://x:1"}}), "socks5h://x:1");
  EXPECT_EQ(Choose("https://quay.io/", {{"HTTP_PROXY", "http://x:1"}, {"ALL_PROXY", "http://y:1"}}),
            "");
  EXPECT_EQ(Choose("https://quay.io/", {}), "");
}

TEST(ProxyTest, LoopbackIsNeverProxied) {
  const Env env = {{"HTTPS_PROXY", "http://p:1"}};
  for (const char* host : {"localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:5000", "[::1]"}) {
    EXPECT_EQ(Choose(std::string("https://") + host + "/", env), "") << host;
  }
  EXPECT_EQ(Choose("https://localhost.example/", env), "http://p:1");
}

TEST(ProxyTest, NoProxy) {
  const struct {
    const char* no_proxy;
    const char* host;
    bool is_direct;
  } table[] = {
      {"*", "quay.io", true},
      {" , *", "10.1.2.3", true},
      {"quay.io", "quay.io", true},
      {"quay.io", "cdn.quay.io", true},
      {"quay.io", "notquay.io", false},
      {"QUAY.io", "quay.IO", true},
      {".quay.io", "cdn.quay.io", true},
      {".quay.io", "quay.io", false},
      {"*.quay.io", "a.cdn.quay.io", true},
      {"*.quay.io", "quay.io", false},
      {"quay.io:5000", "quay.io:5000", true},
      {"quay.io:5000", "quay.io", false},
      {"quay.io:443", "quay.io", true},
      {"a.example, quay.io ,b.example", "quay.io", true},
      {"10.0.0.0/8", "10.200.3.4:5000", true},
      {"10.0.0.0/8", "11.0.0.1", false},
      {"10.0.0.128/25", "10.0.0.127", false},
      {"10.0.0.128/25", "10.0.0.128", true},
      {"0.0.0.0/0", "8.8.8.8", true},
      {"0.0.0.0/0", "quay.io", false},
      {"0.0.0.0/0", "[2001:db8::1]", false},
      {"10.1.2.3", "10.1.2.3:5000", true},
      {"10.1.2.3:5000", "10.1.2.3:5000", true},
      {"10.1.2.3:5000", "10.1.2.3", false},
      {"10.1.2.3", "x10.1.2.3", false},
      {"2001:db8::/32", "[2001:db8::1]:5000", true},
      {"2001:db8::1", "[2001:DB8:0::1]", true},
      {"[2001:db8::1]:5000", "[2001:db8::1]:5000", true},
      {"[2001:db8::1]:5000", "[2001:db8::1]", false},
      {"[2001:db8::1]", "[2001:db8::1]", true},
      {"10.0.0.0/33", "10.0.0.1", false},
      {"10.0.0.0/", "10.0.0.0", false},
      {":5000", "quay.io:5000", false},
      {"", "quay.io", false},
  };
  for (const auto& row : table) {
    const Env env = {{"HTTPS_PROXY", "http://p:1"}, {"NO_PROXY", row.no_proxy}};
    EXPECT_EQ(Choose(std::string("https://") + row.host + "/v2/", env),
              row.is_direct ? "" : "http://p:1")
        << row.no_proxy << " " << row.host;
  }
  EXPECT_EQ(Choose("https://quay.io/", {{"HTTPS_PROXY", "http://p:1"}, {"no_proxy", "quay.io"}}),
            "");
}

TEST(ProxyTest, MessagesHaveNoPassword) {
  EXPECT_EQ(ProxyForMessage("http://user:p@ss/word@proxy.example:3128/x"), "proxy.example:3128");
  EXPECT_EQ(ProxyForMessage("proxy.example:3128"), "proxy.example:3128");
}

}  // namespace
}  // namespace berth::registry
