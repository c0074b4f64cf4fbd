#include "lib/registry/registry_client.h"

#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/status.h"
#include "lib/registry/testing/client_fixture.h"

namespace berth::registry {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ResolveTest, ByTag) {
  ClientFixture f([](const HttpRequest&) { return Manifest(); });
  auto resolved = f.Resolve();
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->bytes, kManifest);
  EXPECT_EQ(resolved->media_type, oci::kOciManifestType);
  EXPECT_EQ(resolved->digest, oci::DigestOf(kManifest));
  EXPECT_EQ(resolved->endpoint(), (Endpoint{"reg.example", "team/app", false, false}));
  EXPECT_THAT(f.transport.Log(), ElementsAre(std::string("GET ") + kManifestUrl));
  EXPECT_EQ(HeaderOf(f.transport.requests()[0], "Authorization"), "");
}

TEST(ResolveTest, DockerHubHasAnotherServer) {
  ClientFixture f([](const HttpRequest&) { return Manifest(); });
  ASSERT_TRUE(f.Resolve("busybox").ok());
  EXPECT_THAT(f.transport.Log(),
              ElementsAre("GET https://registry-1.docker.io/v2/library/busybox/manifests/latest"));
}

TEST(ResolveTest, DigestsAreVerified) {
  ClientFixture f([](const HttpRequest&) { return Manifest(); });
  const std::string right = oci::DigestOf(kManifest).ToString();
  const std::string right512 = oci::DigestOf(kManifest, oci::DigestAlgorithm::kSha512).ToString();
  const std::string wrong = oci::DigestOf("other").ToString();
  EXPECT_TRUE(f.Resolve("reg.example/team/app@" + right).ok());
  EXPECT_TRUE(f.Resolve("reg.example/team/app@" + right512).ok());
  const auto status = f.Resolve("reg.example/team/app@" + wrong).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Message(status), AllOf(HasSubstr(right), HasSubstr(wrong)));

  ClientFixture announced([&](const HttpRequest&) {
    Reply reply = Manifest();
    reply.headers.emplace_back("docker-content-digest", wrong);
    return reply;
  });
  EXPECT_EQ(announced.Resolve().status().code(), absl::StatusCode::kDataLoss);
}

TEST(ResolveTest, HugeManifestsAreRefused) {
  ClientFixture f([](const HttpRequest&) {
    return Reply{200, {}, std::string(oci::kMaxManifestBytes + 1, 'x')};
  });
  EXPECT_EQ(f.Resolve().status().code(), absl::StatusCode::kOutOfRange);
}

TEST(ResolveTest, ErrorsByStatus) {
  const struct {
    int status;
    absl::StatusCode code;
    size_t requests;
  } table[] = {
      {400, absl::StatusCode::kFailedPrecondition, 1}, {401, absl::StatusCode::kUnauthenticated, 1},
      {403, absl::StatusCode::kPermissionDenied, 1},   {404, absl::StatusCode::kNotFound, 1},
      {429, absl::StatusCode::kResourceExhausted, 5},  {500, absl::StatusCode::kUnavailable, 5},
      {501, absl::StatusCode::kUnavailable, 1},        {503, absl::StatusCode::kUnavailable, 5},
      {301, absl::StatusCode::kFailedPrecondition, 1},
  };
  for (const auto& row : table) {
    ClientFixture f([&](const HttpRequest&) {
      return Reply{row.status,
                   {},
                   R"({"errors":[{"code":"SOME_CODE","message":"some\nmessage","detail":{}}]})"};
    });
    const auto status = f.Resolve().status();
    EXPECT_EQ(status.code(), row.code) << row.status;
    EXPECT_EQ(f.transport.requests().size(), row.requests) << row.status;
    EXPECT_THAT(Message(status),
                AllOf(HasSubstr("'reg.example/team/app:v1'"), HasSubstr("registry 'reg.example'")));
    if (row.status != 401) {
      EXPECT_THAT(Message(status),
                  HasSubstr(fmt::format("HTTP {} from '{}': SOME_CODE: some?message", row.status,
                                        kManifestUrl)));
    } else {
      EXPECT_THAT(Message(status), HasSubstr("HTTP 401"));
    }
    EXPECT_EQ(base::GetReason(status).value_or(""),
              row.code == absl::StatusCode::kUnavailable ? "RegistryUnavailable" : "");
  }
}

TEST(ResolveTest, UnreachableIsTriedTwice) {
  ClientFixture f([](const HttpRequest&) {
    return Reply::Error(absl::StatusCode::kUnavailable, "connection refused");
  });
  const auto status = f.Resolve().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::GetReason(status), "RegistryUnavailable");
  EXPECT_THAT(Message(status), HasSubstr("connection refused"));
  EXPECT_EQ(f.transport.requests().size(), 2u);
}

TEST(ResolveTest, UntrustedCertificateSaysWhatToDo) {
  ClientFixture f([](const HttpRequest&) {
    return Reply::Error(absl::StatusCode::kFailedPrecondition, "self-signed certificate");
  });
  f.options.certs_dirs = {"/etc/certs"};
  const auto status = f.Resolve().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("'/etc/certs/reg.example/ca.crt'"));
  EXPECT_EQ(f.transport.requests().size(), 1u);
}

TEST(ResolveTest, ErrorPageWithoutEndIsCut) {
  ClientFixture f([](const HttpRequest&) { return Reply{404, {}, std::string(1 << 20, 'x')}; });
  EXPECT_EQ(f.Resolve().status().code(), absl::StatusCode::kNotFound);
}

TEST(ResolveTest, ContextEnds) {
  ClientFixture f([](const HttpRequest&) { return Manifest(); });
  const base::OpContext gone(absl::InfiniteFuture(), [] { return true; });
  EXPECT_EQ(f.client().ResolveManifest(gone, *oci::Reference::Parse(kImage), {}).status().code(),
            absl::StatusCode::kCancelled);
  const base::OpContext late(absl::Now() - absl::Seconds(1));
  EXPECT_EQ(f.client().ResolveManifest(late, *oci::Reference::Parse(kImage), {}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(RetryTest, BacksOffAndRecovers) {
  int calls = 0;
  ClientFixture f([&](const HttpRequest&) { return ++calls < 4 ? Reply{503} : Manifest(); });
  ASSERT_TRUE(f.Resolve().ok());
  ASSERT_EQ(f.slept.size(), 3u);
  EXPECT_GE(f.slept[0], absl::Milliseconds(150));
  EXPECT_LE(f.slept[0], absl::Milliseconds(250));
  EXPECT_GE(f.slept[2], absl::Milliseconds(600));
  EXPECT_LE(f.slept[2], absl::Milliseconds(1000));
}

TEST(RetryTest, RetryAfterInSecondsAndAsADate) {
  int calls = 0;
  ClientFixture f([&](const HttpRequest&) {
    switch (++calls) {
      case 1:
        return Reply{429, {{"retry-after", "7"}}};
      case 2:  // 30 s after the fixture's start
        return Reply{503, {{"retry-after", "Tue, 14 Nov 2023 22:13:50 GMT"}}};
      default:
        return Manifest();
    }
  });
  ASSERT_TRUE(f.Resolve().ok());
  EXPECT_THAT(f.slept, ElementsAre(absl::Seconds(7), absl::Seconds(23)));
}

TEST(RetryTest, RetryAfterTooLongIsAnErrorAtOnce) {
  ClientFixture f([](const HttpRequest&) { return Reply{429, {{"retry-after", "3600"}}}; });
  const auto status = f.Resolve().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(status), AllOf(HasSubstr("1h"), HasSubstr("HTTP 429")));
  EXPECT_TRUE(f.slept.empty());
}

constexpr char kMirrors[] = R"(
  [[registry]]
  location = "reg.example"
  [[registry.mirror]]
  location = "one.example/proxy"
  [[registry.mirror]]
  location = "two.example"
)";

TEST(MirrorTest, FirstThatHasItAndOthersStayAtHand) {
  ClientFixture f(
      [](const HttpRequest& request) {
        return HostOf(request) == "one.example" ? Reply{404} : Manifest();
      },
      kMirrors);
  auto resolved = f.Resolve();
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_THAT(f.transport.Log(),
              ElementsAre("GET https://one.example/v2/proxy/team/app/manifests/v1",
                          "GET https://two.example/v2/team/app/manifests/v1"));
  ASSERT_EQ(resolved->source.endpoints.size(), 3u);
  EXPECT_EQ(resolved->source.endpoints[0].host, "two.example");
  EXPECT_TRUE(resolved->source.endpoints[0].is_mirror);
}

TEST(MirrorTest, ErrorListsEachAndTheRegistryDecidesTheCode) {
  ClientFixture f(
      [](const HttpRequest& request) {
        if (HostOf(request) == "one.example") {
          return Reply::Error(absl::StatusCode::kUnavailable, "connection refused");
        }
        return HostOf(request) == "two.example" ? Reply{403} : Reply{404};
      },
      kMirrors);
  const auto status = f.Resolve().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(status), AllOf(HasSubstr("mirror 'one.example': cannot be reached"),
                                     HasSubstr("mirror 'two.example': access is denied (HTTP 403"),
                                     HasSubstr("registry 'reg.example': not found (HTTP 404")));
}

TEST(MirrorTest, CorruptMirrorIsPassedOver) {
  const std::string digest = oci::DigestOf(kManifest).ToString();
  ClientFixture f(
      [](const HttpRequest& request) {
        return HostOf(request) == "one.example" ? Reply{200, {}, "corrupt"} : Manifest();
      },
      kMirrors);
  auto resolved = f.Resolve("reg.example/team/app@" + digest);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->endpoint().host, "two.example");
}

TEST(MirrorTest, CallersCredentialsStayWithTheRegistry) {
  ClientFixture f(
      [](const HttpRequest& request) {
        return HeaderOf(request, "Authorization").empty()
                   ? Reply{401, {{"www-authenticate", "Basic realm=\"x\""}}}
                   : Manifest();
      },
      kMirrors);
  ASSERT_TRUE(f.Resolve(kImage, Credentials{"user", "pass", "", ""}).ok());
  std::vector<std::string> with_credentials;
  for (const HttpRequest& request : f.transport.requests()) {
    if (!HeaderOf(request, "Authorization").empty()) {
      with_credentials.push_back(HostOf(request));
    }
  }
  EXPECT_THAT(with_credentials, ElementsAre("reg.example"));
  EXPECT_EQ(f.transport.requests().size(), 4u);  // one 401 of each mirror, two of the registry
}

TEST(MirrorTest, BlockedIsRefusedWithoutARequest) {
  ClientFixture f([](const HttpRequest&) { return Manifest(); },
                  "[[registry]]\nlocation = \"reg.example\"\nblocked = true\n");
  EXPECT_EQ(f.Resolve().status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(f.transport.requests().empty());
}

TEST(InsecureTest, FallsBackToHttpAndRemembers) {
  const auto server = [](const HttpRequest& request) {
    EXPECT_FALSE(request.tls.verify);
    return request.url.rfind("https", 0) == 0
               ? Reply::Error(absl::StatusCode::kUnavailable, "wrong version number")
               : Manifest();
  };
  ClientFixture f(server, "[[registry]]\nlocation = \"reg.example\"\ninsecure = true\n");
  ASSERT_TRUE(f.Resolve().ok());
  ASSERT_TRUE(f.Resolve().ok());
  EXPECT_THAT(f.transport.Log(), ElementsAre(std::string("GET ") + kManifestUrl,
                                             "GET http://reg.example/v2/team/app/manifests/v1",
                                             "GET http://reg.example/v2/team/app/manifests/v1"));
}

TEST(InsecureTest, OthersNeverDo) {
  ClientFixture f([](const HttpRequest& request) {
    EXPECT_TRUE(request.tls.verify);
    EXPECT_EQ(request.url.rfind("https", 0), 0u);
    return Reply::Error(absl::StatusCode::kUnavailable, "wrong version number");
  });
  EXPECT_THAT(Message(f.Resolve().status()), HasSubstr("mark it insecure"));
}

}  // namespace
}  // namespace berth::registry
