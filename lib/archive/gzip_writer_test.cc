#include "lib/archive/gzip_writer.h"

#include <gtest/gtest.h>

#include "lib/archive/decompressor.h"
#include "lib/archive/testing/string_source.h"

namespace berth::archive {
namespace {

std::string Compress(const std::string& text, size_t piece) {
  std::string out;
  GzipWriter writer([&](std::string_view bytes) {
    out += bytes;
    return absl::OkStatus();
  });
  for (size_t at = 0; at < text.size(); at += piece) {
    EXPECT_TRUE(writer.Write(std::string_view(text).substr(at, piece)).ok());
  }
  EXPECT_TRUE(writer.Finish().ok());
  return out;
}

TEST(GzipWriterTest, WhatItWritesInflates) {
  std::string large;
  for (int64_t i = 0; i < 300000; ++i) {
    large += std::to_string(i * 7919);
  }
  for (const std::string& text : {std::string(), std::string("a"), large}) {
    const std::string packed = Compress(text, 10000);
    StringSource source(packed);
    Decompressor plain(source);
    std::string back;
    while (true) {
      const auto piece = plain.Next();
      ASSERT_TRUE(piece.ok()) << piece.status();
      if (piece->empty()) {
        break;
      }
      back += *piece;
    }
    EXPECT_TRUE(back == text) << text.size();
    EXPECT_EQ(plain.compression(), oci::LayerCompression::kGzip);
  }
  EXPECT_LT(Compress(large, 1 << 20).size(), large.size() * 3 / 4);
}

TEST(GzipWriterTest, TheSameBytesGiveTheSameStream) {
  std::string text;
  for (int i = 0; i < 100000; ++i) {
    text += std::to_string(i);
  }
  EXPECT_TRUE(Compress(text, 65536) == Compress(text, 1000));
  EXPECT_TRUE(Compress(text, 1 << 20) == Compress(text, 1000));
}

TEST(GzipWriterTest, TheSinksErrorIsTheWriters) {
  GzipWriter writer([](std::string_view) { return absl::ResourceExhaustedError("full"); });
  absl::Status status = writer.Write("x");
  if (status.ok()) {
    status = writer.Finish();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace berth::archive
