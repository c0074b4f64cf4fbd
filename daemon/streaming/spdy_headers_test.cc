#include "daemon/streaming/spdy_headers.h"

#include "gtest/gtest.h"

#include "daemon/streaming/limits.h"
#include "daemon/streaming/testing/spdy_client.h"

namespace berth::streaming {
namespace {

TEST(SpdyHeadersTest, TheDictionaryIsTheDrafts) {
  const std::string& dictionary = SpdyDictionary();
  EXPECT_EQ(dictionary.size(), 1423u);
  // As it is seen in the zlib header of every SPDY/3 connection: 78 bb e3 c6 a7 c2.
  EXPECT_EQ(adler32(adler32(0, nullptr, 0), reinterpret_cast<const Bytef*>(dictionary.data()),
                    static_cast<uInt>(dictionary.size())),
            0xe3c6a7c2u);
}

TEST(SpdyHeadersTest, BlocksFollowEachOtherInOneDeflatedStream) {
  SpdyDeflater deflater;
  SpdyHeaderReader reader;
  for (int i = 0; i < 3; ++i) {
    const auto headers =
        reader.Read(deflater.Block({{"streamtype", "data"}, {"port", "8080"}, {"requestid", ""}}));
    ASSERT_TRUE(headers.ok()) << headers.status();
    EXPECT_EQ(headers->size(), 3u);
    EXPECT_EQ(headers->Get("streamtype"), "data");
    EXPECT_EQ(headers->Get("port"), "8080");
    EXPECT_EQ(headers->Get("requestid"), "");
    EXPECT_EQ(headers->Get("Port"), "");
  }
}

TEST(SpdyHeadersTest, EmptyBlocksOfOursInflateWithZlibAlone) {
  SpdyHeaderWriter writer;
  z_stream zlib = {};
  ASSERT_EQ(inflateInit(&zlib), Z_OK);
  for (int i = 0; i < 3; ++i) {
    std::string block = writer.NextEmptyBlock();
    char out[16];
    zlib.next_in = reinterpret_cast<Bytef*>(block.data());
    zlib.avail_in = static_cast<uInt>(block.size());
    zlib.next_out = reinterpret_cast<Bytef*>(out);
    zlib.avail_out = sizeof(out);
    int result = inflate(&zlib, Z_SYNC_FLUSH);
    if (i == 0) {
      ASSERT_EQ(result, Z_NEED_DICT);
      ASSERT_EQ(inflateSetDictionary(&zlib, reinterpret_cast<const Bytef*>(SpdyDictionary().data()),
                                     static_cast<uInt>(SpdyDictionary().size())),
                Z_OK);
      result = inflate(&zlib, Z_SYNC_FLUSH);
    }
    ASSERT_EQ(result, Z_OK);
    EXPECT_EQ(zlib.avail_in, 0u);
    EXPECT_EQ(std::string(out, sizeof(out) - zlib.avail_out), std::string(4, '\0'));
  }
  inflateEnd(&zlib);
}

TEST(SpdyHeadersTest, BombsAndNonsenseAreRefused) {
  const auto read = [](const std::string& text) {
    SpdyDeflater deflater;
    SpdyHeaderReader reader;
    return reader.Read(deflater.Deflate(text)).status();
  };
  std::string bomb;
  wire_format::Put32(bomb, 1);
  wire_format::Put32(bomb, 1);
  bomb += "a";
  wire_format::Put32(bomb, 64 << 20);
  bomb += std::string(64 << 10, 'b');
  EXPECT_EQ(read(bomb).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(read(bomb).message().find("larger than 16384 bytes"), std::string::npos);

  std::string many;
  wire_format::Put32(many, kMaxHeaders + 1);
  EXPECT_NE(read(many).message().find("101 names"), std::string::npos);
  std::string cut;
  wire_format::Put32(cut, 1);
  wire_format::Put32(cut, 5);
  cut += "abcd";
  EXPECT_NE(read(cut).message().find("ends in the middle"), std::string::npos);
  std::string huge;
  wire_format::Put32(huge, 1);
  wire_format::Put32(huge, 0xffffffff);
  EXPECT_FALSE(read(huge).ok());
  EXPECT_FALSE(read("abc").ok());

  SpdyHeaderReader garbage, empty;
  EXPECT_FALSE(garbage.Read("\x78\x9cnothing deflated").ok());
  EXPECT_FALSE(empty.Read("").ok());
}

TEST(SpdyHeadersTest, AnotherDictionaryIsRefused) {
  z_stream zlib = {};
  ASSERT_EQ(deflateInit(&zlib, 1), Z_OK);
  ASSERT_EQ(deflateSetDictionary(&zlib, reinterpret_cast<const Bytef*>("other"), 5), Z_OK);
  char out[64], in[4] = {};
  zlib.next_in = reinterpret_cast<Bytef*>(in);
  zlib.avail_in = sizeof(in);
  zlib.next_out = reinterpret_cast<Bytef*>(out);
  zlib.avail_out = sizeof(out);
  ASSERT_EQ(deflate(&zlib, Z_SYNC_FLUSH), Z_OK);
  SpdyHeaderReader reader;
  EXPECT_FALSE(reader.Read({out, sizeof(out) - zlib.avail_out}).ok());
  deflateEnd(&zlib);
}

}  // namespace
}  // namespace berth::streaming
