#include "lib/registry/challenge.h"

#include <string>

#include "fmt/format.h"
#include "gtest/gtest.h"

namespace berth::registry {
namespace {

// "scheme{name=value;...}" of every challenge.
std::string Parsed(const std::string& header) {
  std::string result;
  for (const Challenge& challenge : ParseChallenges(header)) {
    result += (result.empty() ? "" : " ") + challenge.scheme + "{";
    for (const auto& [name, value] : challenge.params) {
      result += fmt::format("{}={};", name, value);
    }
    result += "}";
  }
  return result;
}

TEST(ChallengeTest, Table) {
  const struct {
    std::string header;
    std::string want;
  } table[] = {
      {"", ""},
      {"Basic", "basic{}"},
      {"Basic realm=\"Registry Realm\"", "basic{realm=Registry Realm;}"},
      {"Bearer realm=\"https://auth.example/token\",service=\"reg\",scope=\"repository:a/b:pull\"",
       "bearer{realm=https://auth.example/token;scope=repository:a/b:pull;service=reg;}"},
      {"BEARER  Realm = \"x\" , Service=y", "bearer{realm=x;service=y;}"},
      {"Bearer realm=https://auth.example/token,service=reg",
       "bearer{realm=https://auth.example/token;service=reg;}"},
      {"Bearer realm=\"a\", Basic realm=\"b\"", "bearer{realm=a;} basic{realm=b;}"},
      {"Negotiate, Basic realm=\"b\"", "negotiate{} basic{realm=b;}"},
      {"Bearer realm=\"a\\\"b\\\\c\"", "bearer{realm=a\"b\\c;}"},
      {"Bearer scope=\"repository:a:pull,push repository:b:pull\",error=\"insufficient_scope\"",
       "bearer{error=insufficient_scope;scope=repository:a:pull,push repository:b:pull;}"},
      {"Bearer realm=\"a\",realm=\"b\"", "bearer{realm=a;}"},
      {"Bearer realm=", "bearer{realm=;}"},
      {",,, Basic realm=\"x\",,", "basic{realm=x;}"},
      {"=\"x\"", ""},
      {"\x01\x02", ""},
  };
  for (const auto& row : table) {
    EXPECT_EQ(Parsed(row.header), row.want) << row.header;
  }
}

TEST(ChallengeTest, HostileHeadersEndSomewhere) {
  EXPECT_EQ(Parsed("Bearer realm=\"" + std::string(1 << 20, 'a')), "bearer{}");
  std::string many;
  for (int i = 0; i < 10000; ++i) {
    many += fmt::format("S{} a=b,", i);
  }
  EXPECT_EQ(ParseChallenges(many).size(), 16u);
  std::string params = "Bearer ";
  for (int i = 0; i < 1000; ++i) {
    params += fmt::format("p{}=x,", i);
  }
  EXPECT_EQ(ParseChallenges(params)[0].params.size(), 16u);
}

}  // namespace
}  // namespace berth::registry
