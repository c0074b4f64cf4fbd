#include "lib/registry/token_auth.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/registry/testing/client_fixture.h"

namespace berth::registry {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kBearer[] = R"(Bearer realm="https://auth.example/token?x=1",service="reg.example",)"
                           R"(scope="repository:team/app:pull")";

// A registry that takes "Bearer good<n>" where n counts tokens handed out.
struct TokenServer {
  int issued = 0;
  int expires_in = 300;
  Reply operator()(const HttpRequest& request) {
    if (HostOf(request) == "auth.example") {
      return Reply{
          200, {}, fmt::format(R"({{"token":"good{}","expires_in":{}}})", ++issued, expires_in)};
    }
    const std::string header = HeaderOf(request, "Authorization");
    return header == fmt::format("Bearer good{}", issued)
               ? Manifest()
               : Reply{401, {{"www-authenticate", kBearer}}};
  }
};

TEST(AuthTest, AnonymousTokenIsKept) {
  TokenServer server;
  ClientFixture f([&](const HttpRequest& request) { return server(request); });
  ASSERT_TRUE(f.Resolve().ok());
  ASSERT_TRUE(f.Resolve().ok());
  EXPECT_THAT(f.transport.Log(),
              ElementsAre(std::string("GET ") + kManifestUrl,
                          "GET https://auth.example/token?x=1&service=reg.example&scope="
                          "repository%3Ateam%2Fapp%3Apull",
                          std::string("GET ") + kManifestUrl, std::string("GET ") + kManifestUrl));
  EXPECT_EQ(HeaderOf(f.transport.requests()[1], "Authorization"), "");
}

TEST(AuthTest, ExpiredAndRevokedTokensAreReplaced) {
  TokenServer server;
  ClientFixture f([&](const HttpRequest& request) { return server(request); });
  ASSERT_TRUE(f.Resolve().ok());
  f.now += absl::Seconds(299);
  ASSERT_TRUE(f.Resolve().ok());
  EXPECT_EQ(server.issued, 2);
  ++server.issued;  // the registry no longer takes what it gave
  ASSERT_TRUE(f.Resolve().ok());
  EXPECT_EQ(server.issued, 4);
}

TEST(AuthTest, PasswordGoesToTheTokenServerOnly) {
  TokenServer server;
  ClientFixture f([&](const HttpRequest& request) { return server(request); });
  ASSERT_TRUE(f.Resolve(kImage, Credentials{"me", "pw", "", ""}).ok());
  const auto requests = f.transport.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(HeaderOf(requests[0], "Authorization"), "");
  EXPECT_EQ(HeaderOf(requests[1], "Authorization"), "Basic " + absl::Base64Escape("me:pw"));
  EXPECT_THAT(requests[1].url, HasSubstr("&account=me"));
  EXPECT_EQ(HeaderOf(requests[2], "Authorization"), "Bearer good1");
  // Another caller does not get this one's token.
  ASSERT_TRUE(f.Resolve(kImage, Credentials{"you", "pw", "", ""}).ok());
  EXPECT_EQ(server.issued, 2);
}

TEST(AuthTest, IdentityTokenIsPosted) {
  TokenServer server;
  ClientFixture f([&](const HttpRequest& request) { return server(request); });
  ASSERT_TRUE(f.Resolve(kImage, Credentials{"", "", "re&fresh", ""}).ok());
  const HttpRequest request = f.transport.requests()[1];
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.body,
            "grant_type=refresh_token&service=reg.example&client_id=berth&"
            "scope=repository%3Ateam%2Fapp%3Apull&refresh_token=re%26fresh");
}

TEST(AuthTest, RegistryTokenIsSentAsItIs) {
  ClientFixture f([](const HttpRequest& request) {
    return HeaderOf(request, "Authorization") == "Bearer raw" ? Manifest() : Reply{401};
  });
  ASSERT_TRUE(f.Resolve(kImage, Credentials{"", "", "", "raw"}).ok());
  EXPECT_EQ(f.transport.requests().size(), 1u);
  EXPECT_EQ(f.Resolve(kImage, Credentials{"", "", "", "bad"}).status().code(),
            absl::StatusCode::kUnauthenticated);
}

TEST(AuthTest, BasicIsAnsweredOnceAndKept) {
  ClientFixture f([](const HttpRequest& request) {
    return HeaderOf(request, "Authorization") == "Basic " + absl::Base64Escape("me:pw")
               ? Manifest()
               : Reply{401, {{"www-authenticate", "Basic realm=\"x\""}}};
  });
  ASSERT_TRUE(f.Resolve(kImage, Credentials{"me", "pw", "", ""}).ok());
  ASSERT_TRUE(f.Resolve(kImage, Credentials{"me", "pw", "", ""}).ok());
  EXPECT_EQ(f.transport.requests().size(), 3u);

  const auto wrong = f.Resolve(kImage, Credentials{"me", "wrong", "", ""}).status();
  EXPECT_EQ(wrong.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(f.transport.requests().size(), 5u);
  const auto none = f.Resolve().status();
  EXPECT_EQ(none.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(Message(none), HasSubstr("none were given"));
}

TEST(AuthTest, AuthFileByRepository) {
  char dir[] = "/tmp/registry_client_test.XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  const std::string file = std::string(dir) + "/auth.json";
  ASSERT_TRUE(
      base::WriteFile(file, R"({"auths":{"reg.example/team":{"auth":"bWU6cHc="}}})", 0600).ok());
  ClientFixture f([](const HttpRequest& request) {
    return HeaderOf(request, "Authorization") == "Basic " + absl::Base64Escape("me:pw")
               ? Manifest()
               : Reply{401, {{"www-authenticate", "Basic realm=\"x\""}}};
  });
  f.options.auth_files = {file};
  EXPECT_TRUE(f.Resolve().ok());
  EXPECT_FALSE(f.Resolve("reg.example/other/app").ok());
  EXPECT_TRUE(base::RemoveTree(dir).ok());
}

TEST(AuthTest, BadTokenServers) {
  const struct {
    Reply reply;
    absl::StatusCode code;
    std::string message;
    std::string challenge;
  } table[] = {
      {{401}, absl::StatusCode::kUnauthenticated, "get a token: ", kBearer},
      {{404},
       absl::StatusCode::kFailedPrecondition,
       "HTTP 404 from 'https://auth.example/token'",
       kBearer},
      {{200, {}, "nonsense"}, absl::StatusCode::kUnavailable, "not a JSON object", kBearer},
      {{200, {}, "{}"}, absl::StatusCode::kUnavailable, "no usable token", kBearer},
      {{200, {}, R"({"token":"a\r\nX: y"})"}, absl::StatusCode::kUnavailable, "no usable", kBearer},
      {{200, {}, std::string(1 << 20, ' ')}, absl::StatusCode::kOutOfRange, "more than", kBearer},
      {{200}, absl::StatusCode::kFailedPrecondition, "bad realm", R"(Bearer realm="file:///x")"},
      {{200},
       absl::StatusCode::kFailedPrecondition,
       "plain",
       R"(Bearer realm="http://auth.example")"},
      {{200}, absl::StatusCode::kUnauthenticated, "does not know", "Negotiate"},
      {{200}, absl::StatusCode::kUnauthenticated, "does not know", "Bearer service=x"},
  };
  for (const auto& row : table) {
    ClientFixture f([&](const HttpRequest& request) {
      return HostOf(request) == "auth.example" ? row.reply
                                               : Reply{401, {{"www-authenticate", row.challenge}}};
    });
    const auto status = f.Resolve(kImage, Credentials{"me", "pw", "", ""}).status();
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_THAT(Message(status), HasSubstr(row.message));
  }
}

TEST(AuthTest, SecretsDoNotAppearInErrors) {
  const std::string basic = absl::Base64Escape("me:hunter2");
  ClientFixture f([&](const HttpRequest& request) {
    if (HostOf(request) == "auth.example") {
      return Reply{200, {}, R"({"token":"bearer-secret"})"};
    }
    if (HeaderOf(request, "Authorization").empty()) {
      return Reply{401, {{"www-authenticate", kBearer}}};
    }
    return Reply{403,
                 {},
                 fmt::format(R"({{"errors":[{{"code":"DENIED","message":"{} hunter2 {}"}}]}})",
                             HeaderOf(request, "Authorization"), basic)};
  });
  const auto status = f.Resolve(kImage, Credentials{"me", "hunter2", "", ""}).status();
  EXPECT_THAT(Message(status),
              AllOf(HasSubstr("DENIED: Bearer *** *** ***"), Not(HasSubstr("hunter2")),
                    Not(HasSubstr("bearer-secret")), Not(HasSubstr(basic))));
}

}  // namespace
}  // namespace berth::registry
