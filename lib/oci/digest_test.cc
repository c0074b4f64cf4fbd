#include "lib/oci/digest.h"

#include <string>

#include "gtest/gtest.h"

#include "lib/oci/printable.h"
#include "lib/oci/sha256.h"

namespace berth::oci {
namespace {

const std::string kHex(64, 'a');

TEST(DigestTest, ParsesBothAlgorithms) {
  auto digest = Digest::Parse("sha256:" + kHex);
  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(digest->algorithm(), DigestAlgorithm::kSha256);
  EXPECT_EQ(digest->hex(), kHex);
  EXPECT_EQ(digest->ToString(), "sha256:" + kHex);
  EXPECT_EQ(digest->Short(), "aaaaaaaaaaaa");

  auto longer = Digest::Parse("sha512:" + kHex + kHex);
  ASSERT_TRUE(longer.ok()) << longer.status();
  EXPECT_EQ(longer->algorithm(), DigestAlgorithm::kSha512);
  EXPECT_EQ(longer->ToString(), "sha512:" + kHex + kHex);
  EXPECT_NE(*digest, *longer);
}

TEST(DigestTest, RefusesEverythingElse) {
  const std::string bad[] = {
      "",
      ":",
      kHex,
      "sha256:",
      "sha256:" + kHex.substr(1),
      "sha256:" + kHex + "a",
      "sha256:" + std::string(64, 'A'),
      "sha256:" + std::string(64, 'g'),
      "SHA256:" + kHex,
      "sha512:" + kHex,
      "md5:" + std::string(32, 'a'),
      "sha256:../../../../etc/passwd" + std::string(42, 'a'),
      "sha256:" + kHex + "\n",
      std::string("sha256:\0", 8) + kHex,
      " sha256:" + kHex,
      "sha256+b64:" + kHex,
  };
  for (const std::string& text : bad) {
    auto digest = Digest::Parse(text);
    EXPECT_EQ(digest.status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(DigestTest, MessageIsBounded) {
  const auto status = Digest::Parse("sha256:" + std::string(1 << 20, '\n')).status();
  EXPECT_LT(status.message().size(), 400u);
  EXPECT_EQ(std::string(status.message()).find('\n'), std::string::npos);
}

TEST(DigestTest, EmptyPrintsNothing) {
  EXPECT_TRUE(Digest().empty());
  EXPECT_EQ(Digest().ToString(), "");
}

TEST(HasherTest, KnownValues) {
  EXPECT_EQ(DigestOf("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(DigestOf("abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(DigestOf("abc", DigestAlgorithm::kSha512).hex(),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

TEST(HasherTest, PiecesEqualTheWholeAndFinishStartsOver) {
  const std::string text(100000, 'x');
  Sha256 hash;
  for (size_t i = 0; i < text.size(); i += 999) {
    hash.Update(std::string_view(text).substr(i, 999));
  }
  EXPECT_EQ(hash.Finish(), DigestOf(text));
  EXPECT_EQ(hash.Finish(), DigestOf(""));
  Sha256 moved = std::move(hash);
  moved.Update(std::string_view("abc"));
  EXPECT_EQ(moved.Finish(), DigestOf("abc"));
}

TEST(PrintableTest, OneLineOfAscii) {
  EXPECT_EQ(Printable("a\nb\x1b[31m\xff"), "a?b?[31m?");
  EXPECT_EQ(Printable("abcdef", 3), "abc...");
}

}  // namespace
}  // namespace berth::oci
