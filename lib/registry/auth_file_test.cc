#include "lib/registry/auth_file.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::registry {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Base64 of host:h, team:t, app:a, hub:p:w.
constexpr char kFile[] = R"({"auths": {
  "quay.io": {"auth": "aG9zdDpo"},
  "quay.io/team": {"auth": "dGVhbTp0"},
  "quay.io/team/app": {"auth": "YXBwOmE="},
  "quay.io/empty": {},
  "https://index.docker.io/v1/": {"auth": "aHViOnA6dw=="},
  "http://old.example:5000/v2/": {"auth": "aG9zdDpo"},
  "token.example": {"identitytoken": "refresh"},
  "bearer.example": {"registrytoken": "raw"},
  "null.example": null
}, "credHelpers": {"https://helped.example/v1/": "y", "other.example:5000": "z"}})";

std::string UserFor(const std::string& host, const std::string& repository) {
  auto found = FindAuthIn(kFile, host, repository);
  if (!found.ok()) {
    return found.status().ToString();
  }
  const auto& c = found->credentials;
  return !found->helper.empty() ? "helper " + found->helper
         : c                    ? c->username + c->identity_token + c->registry_token
                                : "-";
}

TEST(AuthFileTest, MostSpecificKeyWins) {
  EXPECT_EQ(UserFor("quay.io", "team/app"), "app");
  EXPECT_EQ(UserFor("quay.io", "team/app/sub"), "app");
  EXPECT_EQ(UserFor("quay.io", "team/other"), "team");
  EXPECT_EQ(UserFor("quay.io", "teams/other"), "host");
  EXPECT_EQ(UserFor("quay.io", "empty/x"), "host");
  EXPECT_EQ(UserFor("docker.io", "library/busybox"), "hub");
  EXPECT_EQ(UserFor("registry-1.docker.io", "library/busybox"), "hub");
  EXPECT_EQ(UserFor("old.example:5000", "x"), "host");
  EXPECT_EQ(UserFor("old.example", "x"), "-");
  EXPECT_EQ(UserFor("token.example", "x"), "refresh");
  EXPECT_EQ(UserFor("bearer.example", "x"), "raw");
  EXPECT_EQ(UserFor("null.example", "x"), "-");
  EXPECT_EQ(UserFor("other.example", "quay.io/team"), "-");
  EXPECT_EQ(UserFor("helped.example", "x"), "helper y");
  EXPECT_EQ(UserFor("other.example:5000", "x"), "helper z");
  EXPECT_EQ(FindAuthIn(kFile, "docker.io", "a")->credentials->password, "p:w");
}

TEST(AuthFileTest, AbsentFileHasNothing) {
  EXPECT_FALSE(FindAuth("", "quay.io", "x")->credentials);
  EXPECT_FALSE(FindAuth("/nonexistent/auth.json", "quay.io", "x")->credentials);
  EXPECT_FALSE(FindAuth("/dev/null", "quay.io", "x")->credentials);
  EXPECT_FALSE(FindAuthIn("{}", "quay.io", "x")->credentials);
}

TEST(AuthFileTest, MalformedFilesAreErrorsWithoutTheirContent) {
  for (const std::string text :
       {"secret", "{\"auths\": \"secret\"}", "{\"auths\": {\"quay.io\": \"secret\"}}",
        "{\"auths\": {\"quay.io\": {\"auth\": \"secret!\"}}}",
        "{\"auths\": {\"quay.io\": {\"auth\": \"c2VjcmV0\"}}}",
        "{\"auths\": {\"quay.io\": {\"auth\": 5}}}", "{\"a\": \"secret\\x\"}",
        "{\"credHelpers\": \"secret\"}", "{\"credHelpers\": {\"quay.io\": [\"secret\"]}}"}) {
    const auto status = FindAuthIn(text, "quay.io", "x").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(status.ToString(), Not(HasSubstr("secret"))) << text;
  }
}

TEST(AuthFileTest, DecodeBasicAuth) {
  EXPECT_EQ(DecodeBasicAuth("aHViOnA6dw==")->username, "hub");
  EXPECT_EQ(DecodeBasicAuth("dTpwAAA=")->password, "p");  // padded with NULs
  EXPECT_FALSE(DecodeBasicAuth("").ok());
}

}  // namespace
}  // namespace berth::registry
