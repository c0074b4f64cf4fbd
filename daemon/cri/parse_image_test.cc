#include "daemon/cri/parse_image.h"

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace berth::cri {
namespace {

api::AuthConfig WithAuth(const std::string& plain) {
  api::AuthConfig auth;
  auth.set_auth(absl::Base64Escape(plain));
  return auth;
}

TEST(ParseImageTest, NamesAreNeeded) {
  api::ImageSpec image;
  EXPECT_EQ(ParseImageName(image).status().message(), "image.image is missing");
  image.set_image("quay.io/x/y@sha256:abc");
  EXPECT_EQ(*ParseImageName(image), "quay.io/x/y@sha256:abc");
  image.set_image("a\nb");
  EXPECT_EQ(ParseImageName(image).status().message(), "image.image contains a control character");
}

TEST(ParseImageTest, NoCredentialsAreNone) {
  api::AuthConfig auth;
  auth.set_server_address("quay.io");
  const auto none = ParseAuth(auth);
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());
  EXPECT_FALSE((*ParseAuth(WithAuth(":"))).has_value());
}

TEST(ParseImageTest, TakesEveryForm) {
  api::AuthConfig plain;
  plain.set_username("u");
  plain.set_password("p");
  plain.set_auth("!!! not looked at, since there is a username");
  EXPECT_EQ(*ParseAuth(plain), (registry::Credentials{.username = "u", .password = "p"}));
  EXPECT_EQ(*ParseAuth(WithAuth("u:p:q")),
            (registry::Credentials{.username = "u", .password = "p:q"}));
  EXPECT_EQ(*ParseAuth(WithAuth(std::string("u:p\0\0", 5))),
            (registry::Credentials{.username = "u", .password = "p"}));
  api::AuthConfig tokens;
  tokens.set_identity_token("i");
  tokens.set_registry_token("r");
  EXPECT_EQ(*ParseAuth(tokens),
            (registry::Credentials{.identity_token = "i", .registry_token = "r"}));
}

TEST(ParseImageTest, RefusesWithoutTellingTheSecret) {
  const std::string secret = "hunter2";
  api::AuthConfig not_base64;
  not_base64.set_auth(secret + "%");
  api::AuthConfig no_user;
  no_user.set_password(secret);
  api::AuthConfig token;
  token.set_registry_token(secret + "\r\nX-Evil: 1");
  const struct {
    api::AuthConfig auth;
    const char* message;
  } cases[] = {
      {not_base64, "auth.auth is not base64"},
      {WithAuth(secret), "auth.auth is not the base64 of 'username:password'"},
      {no_user, "auth.password is set without a username"},
      {token, "auth.registry_token contains a control character"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ParseAuth(c.auth).status(), absl::InvalidArgumentError(c.message));
  }
}

TEST(ParseImageTest, CredentialsStayWithTheirRegistry) {
  for (const char* server : {"", "quay.io", "https://quay.io/v2/"}) {
    EXPECT_TRUE(CheckServerAddress(server, "quay.io/a/b:1").ok()) << server;
  }
  EXPECT_TRUE(CheckServerAddress("https://index.docker.io/v1/", "docker.io/library/a").ok());
  EXPECT_TRUE(CheckServerAddress("quay.io", "busybox").ok());  // decided by registries.conf
  EXPECT_EQ(CheckServerAddress("https://evil.example:5000/quay.io", "quay.io/a/b:1").message(),
            "auth.server_address is 'evil.example:5000', but the image is of 'quay.io'");
}

}  // namespace
}  // namespace berth::cri
