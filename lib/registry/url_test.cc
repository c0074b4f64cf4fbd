#include "lib/registry/url.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::registry {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(UrlTest, Parts) {
  const auto url = Url::Parse("HTTPS://Reg.Example/v2/a?x=1#frag");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->scheme, "https");
  EXPECT_EQ(url->host, "reg.example");
  EXPECT_EQ(url->port, "443");
  EXPECT_EQ(url->HostPort(), "reg.example");
  EXPECT_EQ(url->ForMessage().find("x=1"), std::string::npos);
  EXPECT_EQ(url->text.find("frag"), std::string::npos);
  EXPECT_EQ(Url::Parse("http://[::1]:5000/v2/")->HostPort(), "[::1]:5000");
}

TEST(UrlTest, Resolve) {
  const Url base = *Url::Parse("https://reg.example/v2/a/blobs/x?y=1");
  EXPECT_EQ(base.Resolve("/other?z=2")->text, "https://reg.example/other?z=2");
  EXPECT_EQ(base.Resolve("next")->text, "https://reg.example/v2/a/blobs/next");
  EXPECT_EQ(base.Resolve("//cdn.example/b")->text, "https://cdn.example/b");
  EXPECT_EQ(base.Resolve("http://cdn.example:8080/b c")->text, "http://cdn.example:8080/b%20c");
  EXPECT_FALSE(base.Resolve("").ok());
  EXPECT_FALSE(base.Resolve("file:///etc/passwd").ok());
  EXPECT_FALSE(base.Resolve("gopher://x/").ok());
}

TEST(UrlTest, RefusesOthers) {
  for (const std::string text :
       {"", "reg.example/v2", "ftp://a/b", "http://", "http://user:secret@a/b", "http://user@a/b",
        "http://a b/", "http://a:port/", "http://a%7f/", "http://a%20b/", "http://a%2fb/",
        "http://a%0d%0ab/"}) {
    const auto url = Url::Parse(text);
    EXPECT_EQ(url.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(url.status().ToString(), Not(HasSubstr("secret")));
  }
  EXPECT_FALSE(Url::Parse("http://a/" + std::string(20000, 'x')).ok());
  EXPECT_THAT(Url::Parse("ftp://a/b?sig=secret").status().ToString(), Not(HasSubstr("secret")));
}

TEST(UrlTest, Origins) {
  const Url a = *Url::Parse("https://a.example/x");
  EXPECT_TRUE(a.SameOrigin(*Url::Parse("https://A.example:443/y")));
  EXPECT_FALSE(a.SameOrigin(*Url::Parse("http://a.example/x")));
  EXPECT_FALSE(a.SameOrigin(*Url::Parse("https://a.example:444/x")));
  EXPECT_FALSE(a.SameOrigin(*Url::Parse("https://b.a.example/x")));
}

TEST(UrlTest, Encode) { EXPECT_EQ(UrlEncode("a:b/c d~\xff"), "a%3Ab%2Fc%20d~%FF"); }

}  // namespace
}  // namespace berth::registry
