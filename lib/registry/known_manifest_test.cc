// ResolveManifest with digests that the caller has: what is asked, and when nothing more is.
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/registry/testing/client_fixture.h"

namespace berth::registry {
namespace {

using ::testing::ElementsAre;

const std::string kHead = std::string("HEAD ") + kManifestUrl;
const std::string kGet = std::string("GET ") + kManifestUrl;

// Answers HEAD with these headers (or another status), GET with the manifest.
FakeTransport::Server Server(Reply head) {
  return
      [head](const HttpRequest& request) { return request.method == "HEAD" ? head : Manifest(); };
}

Reply Named(const oci::Digest& digest) {
  return {200, {{"docker-content-digest", digest.ToString()}}, ""};
}

absl::StatusOr<ResolvedManifest> Resolve(ClientFixture& f, const std::string& image = kImage) {
  return f.client().ResolveManifest(base::OpContext::Background(), *oci::Reference::Parse(image),
                                    std::nullopt,
                                    {oci::DigestOf("another"), oci::DigestOf(kManifest)});
}

TEST(KnownManifestTest, AKnownDigestCostsOneHead) {
  ClientFixture f(Server(Named(oci::DigestOf(kManifest))));
  const auto resolved = Resolve(f);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_TRUE(resolved->is_known);
  EXPECT_EQ(resolved->digest, oci::DigestOf(kManifest));
  EXPECT_EQ(resolved->bytes, "");
  EXPECT_EQ(resolved->endpoint().host, "reg.example");
  EXPECT_THAT(f.transport.Log(), ElementsAre(kHead));
  EXPECT_NE(HeaderOf(f.transport.requests()[0], "Accept"), "")
      << "without it a registry may name another form of the manifest";
}

TEST(KnownManifestTest, AnythingElseIsFetched) {
  const Reply heads[] = {
      Named(oci::DigestOf("new")),                     // the tag has moved
      {200, {}, ""},                                   // no digest
      {200, {{"docker-content-digest", "nonsense"}}},  // nor here
      {405, {}, ""},                                   // no HEAD
      {404, {{"docker-content-digest", oci::DigestOf(kManifest).ToString()}}},
      {503, {}, ""},
      Reply::Error(absl::StatusCode::kAborted, "cut"),
  };
  for (const Reply& head : heads) {
    ClientFixture f(Server(head));
    const auto resolved = Resolve(f);
    ASSERT_TRUE(resolved.ok()) << head.status << resolved.status();
    EXPECT_FALSE(resolved->is_known);
    EXPECT_EQ(resolved->bytes, kManifest);
    EXPECT_THAT(f.transport.Log(), ElementsAre(kHead, kGet)) << head.status;
  }
}

TEST(KnownManifestTest, AReferenceByDigestIsAskedForTooAndNamesItself) {
  ClientFixture f(Server({200, {}, ""}));
  const std::string digest = oci::DigestOf(kManifest).ToString();
  const auto resolved = Resolve(f, "reg.example/team/app@" + digest);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_TRUE(resolved->is_known);
  EXPECT_THAT(f.transport.Log(),
              ElementsAre("HEAD https://reg.example/v2/team/app/manifests/" + digest));
  // Another digest than was asked for is no answer, known or not.
  ClientFixture liar(Server(Named(oci::DigestOf("another"))));
  const auto fetched = Resolve(liar, "reg.example/team/app@" + digest);
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  EXPECT_FALSE(fetched->is_known);
}

TEST(KnownManifestTest, TheRegistrysRefusalIsTheAnswer) {
  ClientFixture f([](const HttpRequest&) {
    return Reply{401, {{"www-authenticate", "Basic realm=\"x\""}}, ""};
  });
  EXPECT_EQ(Resolve(f).status().code(), absl::StatusCode::kUnauthenticated);
}

}  // namespace
}  // namespace berth::registry
