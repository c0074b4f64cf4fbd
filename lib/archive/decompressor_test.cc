#include "lib/archive/decompressor.h"

#include <gtest/gtest.h>

#include "lib/archive/testing/string_source.h"
#include "lib/archive/testing/tar_builder.h"

namespace berth::archive {
namespace {

absl::StatusOr<std::string> ReadAll(Decompressor& decompressor) {
  std::string all;
  while (true) {
    auto piece = decompressor.Next();
    if (!piece.ok()) {
      return piece.status();
    }
    if (piece->empty()) {
      return all;
    }
    all.append(*piece);
  }
}

absl::StatusOr<std::string> Decompress(const std::string& bytes, size_t piece = 1 << 16) {
  StringSource source(bytes, piece);
  Decompressor decompressor(source);
  return ReadAll(decompressor);
}

std::string Text(size_t size) {
  std::string text;
  for (unsigned i = 0; text.size() < size; ++i) {
    text += std::to_string(i * 2654435761U);
  }
  text.resize(size);
  return text;
}

std::string SkippableFrame() { return std::string("\x53\x2a\x4d\x18\x05\0\0\0hello", 13); }

TEST(Decompressor, TellsTheFormatByItsFirstBytes) {
  const std::string plain = Text(1000);
  const std::pair<std::string, oci::LayerCompression> cases[] = {
      {plain, oci::LayerCompression::kNone},
      {Gzip(plain), oci::LayerCompression::kGzip},
      {Zstd(plain), oci::LayerCompression::kZstd},
      {SkippableFrame() + Zstd(plain), oci::LayerCompression::kZstd}};
  for (const auto& [bytes, compression] : cases) {
    StringSource source(bytes, 1);
    Decompressor decompressor(source);
    const auto got = ReadAll(decompressor);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(*got, plain);
    EXPECT_EQ(decompressor.compression(), compression);
    EXPECT_EQ(decompressor.bytes_in(), bytes.size());
  }
}

TEST(Decompressor, ShortAndEmptyStreamsArePlain) {
  for (const char* text : {"", "a", "abc"}) {
    EXPECT_EQ(*Decompress(text), text);
  }
}

TEST(Decompressor, AnyPieceSizeGivesTheSame) {
  const std::string plain = Text(700'000) + std::string(1'000'000, '\0') + Text(50'000);
  for (const std::string& bytes : {Gzip(plain), Zstd(plain)}) {
    for (const size_t piece : {size_t{1}, size_t{7}, size_t{4096}, bytes.size()}) {
      const auto got = Decompress(bytes, piece);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_TRUE(*got == plain) << "pieces of " << piece;
    }
  }
}

TEST(Decompressor, ReadsEveryMemberAndFrame) {
  const std::string a = Text(100'000);
  const std::string b = Text(300);
  for (const size_t piece : {size_t{1}, size_t{13}, size_t{1} << 20}) {
    EXPECT_EQ(*Decompress(Gzip(a) + Gzip("") + Gzip(b) + Gzip(a), piece), a + b + a);
    EXPECT_EQ(
        *Decompress(Zstd(a) + SkippableFrame() + Zstd("") + Zstd(b) + SkippableFrame(), piece),
        a + b);
  }
}

TEST(Decompressor, TruncationIsAnErrorAtEveryByte) {
  const std::string plain = Text(3000);
  for (const std::string& bytes : {Gzip(plain), Zstd(plain)}) {
    for (size_t size = 4; size < bytes.size(); ++size) {
      const auto got = Decompress(bytes.substr(0, size));
      ASSERT_FALSE(got.ok()) << size << " of " << bytes.size();
      EXPECT_EQ(got.status().code(), absl::StatusCode::kDataLoss);
      EXPECT_NE(std::string(got.status().message()).find("at byte " + std::to_string(size)),
                std::string::npos)
          << got.status();
    }
    // Also inside a second member.
    for (size_t size = 1; size < bytes.size(); size += 37) {
      EXPECT_FALSE(Decompress(bytes + bytes.substr(0, size)).ok()) << size;
    }
  }
}

TEST(Decompressor, EveryFlippedBitOfTheDataOrTheTrailerIsFound) {
  const std::string plain = Text(2000);
  const std::string gzip = Gzip(plain);
  for (size_t at = 10; at < gzip.size();
       ++at) {  // the 10 bytes of header carry nothing that is checked
    std::string bad = gzip;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    const auto got = Decompress(bad);
    // A code for a symbol that never comes may change without harm; the checksum and the length may
    // not.
    EXPECT_TRUE(!got.ok() || (*got == plain && at < gzip.size() - 8))
        << at << " of " << gzip.size();
  }
  const std::string zstd = Zstd(plain);
  for (size_t at = 6; at < zstd.size(); ++at) {
    std::string bad = zstd;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    const auto got = Decompress(bad);
    EXPECT_TRUE(!got.ok() || *got == plain) << at;
  }
}

TEST(Decompressor, BytesAfterTheLastMemberAreAnError) {
  EXPECT_EQ(Decompress(Gzip("x") + "garbage").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Decompress(Zstd("x") + "garbage").status().code(), absl::StatusCode::kDataLoss);
}

TEST(Decompressor, PassesTheSourcesErrorOn) {
  class Broken : public ByteSource {
    absl::StatusOr<std::string_view> Next() override {
      return calls_++ == 0 ? absl::StatusOr<std::string_view>("\x1f\x8b\x08\x00")
                           : absl::AbortedError("broke off");
    }
    int calls_ = 0;
  } source;
  Decompressor decompressor(source);
  EXPECT_EQ(ReadAll(decompressor).status().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace berth::archive
