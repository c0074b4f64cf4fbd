#include "lib/registry/http_exchange.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/registry/testing/client_fixture.h"

namespace berth::registry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(RedirectTest, CredentialsDoNotCrossOrigins) {
  const std::string content = "blob content";
  ClientFixture f([&](const HttpRequest& request) {
    if (HostOf(request) == "cdn.example") {
      return request.url.find("/again") == std::string::npos
                 ? Reply{302, {{"location", "https://reg.example/back"}}}
                 : Reply{200, {}, content};
    }
    if (request.url == "https://reg.example/back") {
      return Reply{307, {{"location", "https://cdn.example/again?sig=s3cr3t"}}};
    }
    if (HeaderOf(request, "Authorization").empty()) {
      return Reply{401, {{"www-authenticate", "Basic"}}};
    }
    return Reply{307, {{"location", "//cdn.example/blob?sig=s3cr3t"}}};
  });
  ImageSource source{*oci::Reference::Parse(kImage),
                     {{"reg.example", "team/app", false, false}},
                     Credentials{"me", "pw", "", ""}};
  const auto bytes =
      f.client().FetchConfig(base::OpContext::Background(), source, DescriptorOf(content));
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, content);
  const auto requests = f.transport.requests();
  ASSERT_EQ(requests.size(), 5u);
  EXPECT_NE(HeaderOf(requests[1], "Authorization"), "");
  for (size_t i = 2; i < requests.size(); ++i) {
    EXPECT_EQ(HeaderOf(requests[i], "Authorization"), "") << requests[i].url;
  }
}

TEST(RedirectTest, AnIdentityTokenIsNotPostedElsewhere) {
  ClientFixture f([](const HttpRequest& request) {
    if (HostOf(request) == "auth.example") {
      return Reply{307, {{"location", "https://evil.example/token"}}};
    }
    EXPECT_EQ(HostOf(request), "reg.example");
    return Reply{401, {{"www-authenticate", "Bearer realm=\"https://auth.example/token\""}}};
  });
  const auto status = f.Resolve(kImage, Credentials{"", "", "identity", ""}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("'https://evil.example/token' (HTTP 307)"));
  EXPECT_EQ(f.transport.requests().size(), 2u);
}

TEST(RedirectTest, KeptWithinTheOrigin) {
  ClientFixture f([](const HttpRequest& request) {
    if (request.url.find("/moved") != std::string::npos) {
      EXPECT_EQ(HeaderOf(request, "Authorization"), "Bearer raw");
      return Manifest();
    }
    return Reply{308, {{"location", "/moved"}}};
  });
  EXPECT_TRUE(f.Resolve(kImage, Credentials{"", "", "", "raw"}).ok());
}

TEST(RedirectTest, LoopsAndBadPlacesAreErrors) {
  const struct {
    std::string location;
    std::string message;
  } table[] = {
      {"/v2/team/app/manifests/v1", "more than 10 times"},
      {"https://other.example/", "more than 10 times"},
      {"http://other.example/?sig=s3cr3t", "plain 'http://other.example/'"},
      {"file:///etc/passwd", "bad place"},
      {"", "bad place"},
  };
  for (const auto& row : table) {
    ClientFixture f([&](const HttpRequest&) { return Reply{302, {{"location", row.location}}}; });
    const auto status = f.Resolve().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << row.location;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(row.message), HasSubstr("HTTP 302")));
    EXPECT_THAT(Message(status), Not(HasSubstr("s3cr3t")));
    EXPECT_LE(f.transport.requests().size(), 11u);
  }
}

TEST(RedirectTest, SecretsThatAServerRepeatsAreNotShown) {
  for (const char* place : {"https://pass w0rd-x/", "http://cdn.example/w0rd-x", "/v2/w0rd-x"}) {
    ClientFixture f([&](const HttpRequest& request) {
      return HeaderOf(request, "Authorization").empty()
                 ? Reply{401, {{"www-authenticate", "Basic"}}}
                 : Reply{302, {{"location", place}}};
    });
    const auto status = f.Resolve(kImage, Credentials{"me", "w0rd-x", "", ""}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << place;
    EXPECT_THAT(Message(status), AllOf(HasSubstr("redirects"), HasSubstr("***"))) << place;
    EXPECT_THAT(Message(status), Not(HasSubstr("w0rd-x"))) << place;
  }
}

TEST(RedirectTest, ARefusalElsewhereIsNotAnswered) {
  ClientFixture f([](const HttpRequest& request) {
    return HostOf(request) == "cdn.example" ? Reply{401, {{"www-authenticate", "Basic"}}}
                                            : Reply{302, {{"location", "https://cdn.example/x"}}};
  });
  EXPECT_EQ(f.Resolve(kImage, Credentials{"me", "pw", "", ""}).status().code(),
            absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(f.transport.requests().size(), 2u);
}

}  // namespace
}  // namespace berth::registry
