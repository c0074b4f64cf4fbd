#include "lib/oci/reference.h"

#include <string>

#include "gtest/gtest.h"

namespace berth::oci {
namespace {

const std::string kHex(64, 'b');
const std::string kDigest = "sha256:" + kHex;

struct Valid {
  std::string text;
  std::string domain;
  std::string path;
  std::string tag;
  bool has_digest;
  bool is_short;
  std::string familiar;
};

TEST(ReferenceTest, Valid) {
  const std::string docker = "docker.io";
  const Valid table[] = {
      {"busybox", docker, "library/busybox", "latest", false, true, "busybox:latest"},
      {"busybox:1.36", docker, "library/busybox", "1.36", false, true, "busybox:1.36"},
      {"library/busybox", docker, "library/busybox", "latest", false, true, "busybox:latest"},
      {"user/app:v1", docker, "user/app", "v1", false, true, "user/app:v1"},
      {"docker.io/busybox", docker, "library/busybox", "latest", false, false, "busybox:latest"},
      {"index.docker.io/busybox", docker, "library/busybox", "latest", false, false,
       "busybox:latest"},
      {"docker.io/library/busybox@" + kDigest, docker, "library/busybox", "", true, false,
       "busybox@" + kDigest},
      {"busybox:1@" + kDigest, docker, "library/busybox", "", true, true, "busybox@" + kDigest},
      {"quay.io/x/y", "quay.io", "x/y", "latest", false, false, "quay.io/x/y:latest"},
      {"quay.io/y", "quay.io", "y", "latest", false, false, "quay.io/y:latest"},
      {"localhost/app", "localhost", "app", "latest", false, false, "localhost/app:latest"},
      {"localhost:5000/app:t", "localhost:5000", "app", "t", false, false, "localhost:5000/app:t"},
      {"127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "a/b/c", "latest", false, false,
       "127.0.0.1:5000/a/b/c:latest"},
      {"[::1]:5000/app", "[::1]:5000", "app", "latest", false, false, "[::1]:5000/app:latest"},
      {"[2001:db8::1]/app:x", "[2001:db8::1]", "app", "x", false, false, "[2001:db8::1]/app:x"},
      {"registry:5000/app", "registry:5000", "app", "latest", false, false,
       "registry:5000/app:latest"},
      {"Registry/app", "Registry", "app", "latest", false, false, "Registry/app:latest"},
      {"registry/app", docker, "registry/app", "latest", false, true, "registry/app:latest"},
      {"xn--n3h.com/a", "xn--n3h.com", "a", "latest", false, false, "xn--n3h.com/a:latest"},
      {"a/b__c/d-e/f---g/h.i/j_k", docker, "a/b__c/d-e/f---g/h.i/j_k", "latest", false, true,
       "a/b__c/d-e/f---g/h.i/j_k:latest"},
      {"app:_A.b-c", docker, "library/app", "_A.b-c", false, true, "app:_A.b-c"},
      {"docker.io/library/" + kHex, docker, "library/" + kHex, "latest", false, false,
       "library/" + kHex + ":latest"},
      {"docker.io/localhost/app", docker, "localhost/app", "latest", false, false,
       "docker.io/localhost/app:latest"},
      {"foo:5000", docker, "library/foo", "5000", false, true, "foo:5000"},
      {"app:" + std::string(128, 't'), docker, "library/app", std::string(128, 't'), false, true,
       "app:" + std::string(128, 't')},
  };
  for (const Valid& row : table) {
    auto ref = Reference::Parse(row.text);
    ASSERT_TRUE(ref.ok()) << row.text << ": " << ref.status();
    EXPECT_EQ(ref->domain(), row.domain) << row.text;
    EXPECT_EQ(ref->path(), row.path) << row.text;
    EXPECT_EQ(ref->tag(), row.tag) << row.text;
    EXPECT_EQ(ref->digest().has_value(), row.has_digest) << row.text;
    EXPECT_EQ(ref->is_short_name(), row.is_short) << row.text;
    EXPECT_EQ(ref->ToFamiliarString(), row.familiar) << row.text;

    auto full = Reference::Parse(ref->ToString());
    ASSERT_TRUE(full.ok()) << ref->ToString();
    EXPECT_EQ(*full, *ref) << row.text;
    EXPECT_FALSE(full->is_short_name()) << row.text;
    auto familiar = Reference::Parse(ref->ToFamiliarString());
    ASSERT_TRUE(familiar.ok()) << ref->ToFamiliarString();
    EXPECT_EQ(*familiar, *ref) << row.text;
  }
}

TEST(ReferenceTest, Invalid) {
  const std::string table[] = {
      "",
      ":tag",
      "@" + kDigest,
      "UPPER",
      "user/UPPER",
      "a b",
      "a/",
      "/a",
      "a//b",
      "a/../b",
      "quay.io/../b",
      "quay.io/a/.",
      "a___b",
      "a..b/c/..",
      "-a",
      "a-",
      "_a",
      "a.",
      "quay.io/a_-b",
      "app:",
      "app:-x",
      "app:.x",
      "app:a b",
      "app:" + std::string(129, 't'),
      "app@",
      "app@sha256",
      "app@sha256:abc",
      "app@sha256:" + std::string(64, 'B'),
      "app@" + kDigest + "@" + kDigest,
      "app@md5:" + std::string(32, 'a'),
      kHex,
      "sha256:" + kHex,
      kHex + ":tag",
      "registry:port/app",
      "registry:0/app",
      "registry:65536/app",
      "registry:500000/app",
      "-bad.example/app",
      "bad-.example/app",
      "a..example/app",
      ".example/app",
      "[::1/app",
      "[::g]/app",
      "[]/app",
      "[::1]x/app",
      "[::1]:/app",
      "http://quay.io/app",
      "quay.io/",
      "quay.io:5000/",
      "quay.io/a\n",
      std::string("quay.io/a\0b", 11),
      "quay.io/\xc3\xa9",
      "quay.io/" + std::string(256, 'a'),
      std::string(250, 'a'),
      std::string(5000, 'a'),
      "user@host/app",
      "app:tag:tag",
      "app:tag/x",
  };
  for (const std::string& text : table) {
    if (text == std::string(250, 'a')) {
      continue;  // checked below: the limit counts library/
    }
    auto ref = Reference::Parse(text);
    EXPECT_EQ(ref.status().code(), absl::StatusCode::kInvalidArgument)
        << text << " became " << (ref.ok() ? ref->ToString() : "");
    EXPECT_LT(ref.status().message().size(), 600u);
  }
  EXPECT_TRUE(Reference::Parse("quay.io/" + std::string(255, 'a')).ok());
  EXPECT_FALSE(Reference::Parse(std::string(250, 'a')).ok());
  EXPECT_TRUE(Reference::Parse(std::string(247, 'a')).ok());
}

TEST(ReferenceTest, WithTagDigestName) {
  const Reference ref = *Reference::Parse("busybox:1");
  const Digest digest = *Digest::Parse(kDigest);
  EXPECT_EQ(ref.WithDigest(digest).ToString(), "docker.io/library/busybox@" + kDigest);
  EXPECT_EQ(ref.WithDigest(digest).WithTag("2").ToString(), "docker.io/library/busybox:2");
  EXPECT_EQ(ref.WithName("quay.io/x/busybox")->ToString(), "quay.io/x/busybox:1");
  EXPECT_FALSE(ref.WithName("quay.io/x/busybox")->is_short_name());
  EXPECT_FALSE(ref.WithName("quay.io/x/..").ok());
  EXPECT_FALSE(ref.WithName("quay.io/x:tag").ok());
}

TEST(ReferenceTest, ShortNameIsKeptAsWritten) {
  EXPECT_EQ(Reference::Parse("library/busybox:1")->short_name(), "library/busybox");
  EXPECT_EQ(Reference::Parse("busybox@" + kDigest)->short_name(), "busybox");
  EXPECT_EQ(Reference::Parse("docker.io/busybox")->short_name(), "");
}

TEST(ReferenceTest, ImageIds) {
  EXPECT_TRUE(IsFullImageId(kHex));
  EXPECT_TRUE(IsFullImageId(kDigest));
  EXPECT_FALSE(IsFullImageId(kHex.substr(1)));
  EXPECT_FALSE(IsFullImageId(std::string(64, 'B')));
  EXPECT_FALSE(IsFullImageId(""));
  EXPECT_TRUE(MayBeImageIdPrefix("abc"));
  EXPECT_TRUE(MayBeImageIdPrefix("sha256:abc"));
  EXPECT_TRUE(MayBeImageIdPrefix(kHex));
  EXPECT_FALSE(MayBeImageIdPrefix("ab"));
  EXPECT_FALSE(MayBeImageIdPrefix("abg"));
  EXPECT_FALSE(MayBeImageIdPrefix(kHex + "b"));
}

}  // namespace
}  // namespace berth::oci
