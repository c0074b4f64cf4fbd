// The formats of tar archives, one trait at a time, and archives that lie.
#include <sys/sysmacros.h>

#include <cstring>

#include "lib/archive/tar_reader.h"
#include "lib/archive/testing/tar_builder.h"
#include "lib/archive/testing/tar_listing.h"

namespace berth::archive {
namespace {

constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;

std::function<void(char*)> Magic(std::string_view magic) {
  return [magic](char* block) {
    std::memset(block + 257, 0, 8);
    std::memcpy(block + 257, magic.data(), magic.size());
  };
}
const std::string_view kGnuMagic("ustar  \0", 8);

std::function<void(char*)> Put(size_t at, std::string_view text,
                               std::string_view magic = {"ustar\00000", 8}) {
  return [=](char* block) {
    Magic(magic)(block);
    std::memcpy(block + at, text.data(), text.size());
  };
}

// One entry alone.
TarListing ReadOne(const TarBuilder::Entry& entry) {
  return ReadTar(TarBuilder().Add(entry).Finish());
}

TEST(TarFormat, V7HasNoPrefixAndDirectoriesEndWithASlash) {
  TarBuilder tar;
  tar.Add({.name = "old/", .type = '\0', .edit = Put(345, "prefix", "")});
  tar.Add({.name = "old/f", .type = '\0', .content = "x", .edit = Magic("")});
  tar.Add({.name = "new/", .type = '0', .edit = Magic("ustar")});
  const TarListing read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  ASSERT_EQ(read.entries.size(), 3u);
  EXPECT_EQ(read.entries[0].name, "old/");
  EXPECT_EQ(read.entries[0].kind, TarEntry::Kind::kDirectory);
  EXPECT_EQ(read.entries[1].kind, TarEntry::Kind::kFile);
  EXPECT_EQ(read.contents[1], "x");
  EXPECT_EQ(read.entries[2].kind, TarEntry::Kind::kDirectory);
}

TEST(TarFormat, Prefixes) {
  EXPECT_EQ(ReadOne({.name = "f", .edit = Put(345, "a/b")}).Names(), "a/b/f;");
  // All 100 and 155 bytes, without a zero byte.
  const std::string name(100, 'n');
  const std::string prefix(155, 'p');
  EXPECT_EQ(ReadOne({.name = name, .edit = Put(345, prefix)}).Names(), prefix + "/" + name + ";");
  // star has times where the prefix's end would be.
  const auto star = [](char* block) {
    std::memcpy(block + 345, "a", 1);
    std::memcpy(block + 476, "00000000001", 11);
    std::memcpy(block + 508, "tar", 4);
  };
  EXPECT_EQ(ReadOne({.name = "f", .edit = star}).Names(), "a/f;");
  // Old GNU has times in its place, and Go's writer once had not.
  EXPECT_EQ(ReadOne({.name = "f", .edit = Put(345, "00000000001", kGnuMagic)}).Names(), "f;");
  EXPECT_EQ(ReadOne({.name = "f", .edit = Put(345, "some/dir", kGnuMagic)}).Names(), "some/dir/f;");
}

TEST(TarFormat, ChecksumsOfSignedCharacters) {
  std::string tar = TarBuilder().Add({.name = "caf\xe9\xff", .content = "x"}).Finish();
  int sum = 0;
  std::memset(tar.data() + 148, ' ', 8);
  for (size_t i = 0; i < 512; ++i) {
    sum += static_cast<signed char>(tar[i]);
  }
  std::snprintf(tar.data() + 148, 8, "%06o", static_cast<unsigned>(sum));
  EXPECT_EQ(ReadTar(tar).Names(), "caf\xe9\xff;");
}

TEST(TarFormat, Numbers) {
  EXPECT_EQ(*ParseTarNumber("0000755\0", ""), 0755);
  EXPECT_EQ(*ParseTarNumber("  755 \0", ""), 0755);
  EXPECT_EQ(*ParseTarNumber(std::string_view("\0\0\0\0", 4), ""), 0);
  EXPECT_EQ(*ParseTarNumber("        ", ""), 0);
  EXPECT_EQ(*ParseTarNumber("777777777777", ""), (int64_t{1} << 36) - 1);
  EXPECT_EQ(*ParseTarNumber(std::string_view("\x80\0\0\0\0\0\x01\x02", 8), ""), 0x102);
  EXPECT_EQ(*ParseTarNumber("\xff\xff\xff\xff\xff\xff\xff\xfe", ""), -2);
  EXPECT_EQ(*ParseTarNumber(std::string_view("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12), ""),
            INT64_MAX);
  for (const std::string_view bad :
       {std::string_view("12345678"), std::string_view("-1"), std::string_view("0x1"),
        std::string_view("\x80\0\0\0\x80\0\0\0\0\0\0\0", 12),
        std::string_view("\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12)}) {
    EXPECT_EQ(ParseTarNumber(bad, "").status().code(), kDataLoss) << bad;
  }
}

TEST(TarFormat, NegativeAndHugeSizes) {
  EXPECT_EQ(
      ReadOne({.name = "f", .edit = Put(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0")})
          .status.code(),
      kDataLoss);
  // With its padding it would be negative.
  EXPECT_EQ(ReadOne({.name = "f",
                     .edit = Put(
                         124, std::string_view("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12))})
                .status.code(),
            kDataLoss);
  for (const char* size : {"-1", "9223372036854775807", "9223372036854775808", "1x", " 1", "+1"}) {
    EXPECT_EQ(ReadOne({.name = "f", .pax = {{"size", size}}}).status.code(), kDataLoss) << size;
  }
  for (const char type : {'x', 'g', 'L', 'K', 'V'}) {
    EXPECT_FALSE(ReadOne({.name = "f",
                          .type = type,
                          .edit = Put(124, std::string_view("\x80\0\0\0\x7f\0\0\0\0\0\0\0", 12))})
                     .status.ok())
        << type;
  }
}

TEST(TarFormat, PaxSizeIsTheEntrysAndNotThatOfALongNameBetween) {
  TarBuilder tar;
  tar.Raw(TarBuilder()
              .Add({.name = "pax", .type = 'x', .content = TarBuilder::PaxRecord("size", "5")})
              .bytes());
  tar.Add({.name = "././@LongLink", .type = 'L', .content = std::string("a/long/name\0", 12)});
  tar.Raw(TarBuilder()
              .Add({.name = "short", .content = "hello", .edit = Put(124, "00000000000")})
              .bytes());
  tar.File("next", "n");
  const TarListing read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.Names(), "a/long/name;next;");
  EXPECT_EQ(read.contents[0], "hello");
}

TEST(TarFormat, LinksDevicesAndDirectoriesHaveNoContent) {
  for (const char type : {'1', '2', '3', '4', '5', '6'}) {
    TarBuilder tar;
    tar.Add({.name = "e", .type = type, .link = "x", .edit = Put(124, "00000001000")});
    tar.File("next", "n");
    const TarListing read = ReadTar(tar.Finish());
    ASSERT_TRUE(read.status.ok()) << type << read.status;
    EXPECT_EQ(read.Names(), "e;next;");
    EXPECT_EQ(read.contents[1], "n");
    // What looks like content is the next header, and none.
    TarBuilder with;
    with.Add({.name = "e", .type = type, .content = "data", .link = "x"});
    EXPECT_EQ(ReadTar(with.Finish()).status.code(), kDataLoss) << type;
  }
}

TEST(TarFormat, TypesOfGnuAndUnknownOnes) {
  TarBuilder tar;
  tar.Add({.name = "volume", .type = 'V', .content = "skipped"});
  tar.Add({.name = "dump/", .type = 'D', .content = std::string("Yf\0Nd\0\0", 7)});
  tar.Add({.name = "contiguous", .type = '7', .content = "c"});
  const TarListing read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.Names(), "dump/;contiguous;");
  EXPECT_EQ(read.entries[0].kind, TarEntry::Kind::kDirectory);
  EXPECT_EQ(read.contents[1], "c");
  for (const char type : {'M', 'N', 'A', 'X', '8', 'z', '\x01', '\xff'}) {
    const TarListing refused = ReadOne({.name = "f", .type = type, .content = "x"});
    EXPECT_EQ(refused.status.code(), absl::StatusCode::kInvalidArgument) << type;
    EXPECT_NE(refused.status.ToString().find("unknown type"), std::string::npos);
  }
}

TEST(TarFormat, GlobalHeadersAreCheckedAndIgnored) {
  TarBuilder tar;
  tar.Add({.name = "g",
           .type = 'g',
           .content = TarBuilder::PaxRecord("comment", "0123") +
                      TarBuilder::PaxRecord("path", "elsewhere") +
                      TarBuilder::PaxRecord("uid", "77") + TarBuilder::PaxRecord("size", "9999")});
  tar.Add({.name = "f", .content = "x", .uid = 5});
  const TarListing read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.Names(), "f;");
  EXPECT_EQ(read.entries[0].uid, 5u);
  EXPECT_EQ(ReadOne({.name = "g", .type = 'g', .content = "words"}).status.code(), kDataLoss);
}

TEST(TarFormat, LongNamesWinOverPax) {
  TarBuilder tar;
  tar.Add({.name = "././@LongLink", .type = 'L', .content = std::string(300, 'n')});
  tar.Add({.name = "././@LongLink", .type = 'K', .content = std::string(300, 'l') + '\0' + "more"});
  tar.Add({.name = "x", .type = '2', .link = "y", .pax = {{"path", "p"}, {"linkpath", "q"}}});
  const TarListing read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.entries[0].name, std::string(300, 'n'));
  EXPECT_EQ(read.entries[0].link, std::string(300, 'l'));
}

TEST(TarFormat, PaxRecords) {
  // The last of two counts, an empty one means the header's.
  TarBuilder tar;
  tar.Raw(
      TarBuilder()
          .Add({.name = "pax",
                .type = 'x',
                .content = TarBuilder::PaxRecord("path", "one") +
                           TarBuilder::PaxRecord("path", "two") +
                           TarBuilder::PaxRecord("uid", "9") + TarBuilder::PaxRecord("uid", "") +
                           TarBuilder::PaxRecord("unknown", "whatever") +
                           TarBuilder::PaxRecord("SCHILY.xattr.user.empty", "")})
          .bytes());
  tar.Add({.name = "f", .uid = 5});
  const TarListing read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.Names(), "two;");
  EXPECT_EQ(read.entries[0].uid, 5u);
  ASSERT_EQ(read.entries[0].xattrs.size(), 1u);
  EXPECT_EQ(read.entries[0].xattrs[0].first, "user.empty");
  for (const std::string& bad :
       {std::string("x"), std::string("5 a=\n\n"), std::string("99 path=x\n"),
        std::string("0 path=x\n"), std::string("3 \n"), std::string("10 path=x!"),
        std::string("9 path-x\n"), std::string("6 =ab\n"), std::string("-9 path=x\n"),
        std::string("99999999999999999999 path=x\n"), std::string("11 path=x\0y\n", 12),
        std::string(" 9 path=x\n"), std::string("11 mtime=x\n"), std::string("13 mtime=1.x\n"),
        std::string("10 mtime=\n9 mtime-"), std::string("9 uid=1x\n")}) {
    TarBuilder one;
    one.Add({.name = "pax", .type = 'x', .content = bad}).File("f", "x");
    EXPECT_EQ(ReadTar(one.Finish()).status.code(), kDataLoss) << bad;
  }
}

TEST(TarFormat, PaxTimes) {
  const std::map<std::string, std::pair<int64_t, long>> times = {
      {"0", {0, 0}},
      {"1.5", {1, 500000000}},
      {"-1.5", {-2, 500000000}},
      {"-0.25", {-1, 750000000}},
      {"7.", {7, 0}},
      {".5", {0, 500000000}},
      {"3.0000000019", {3, 1}},
      {"-5", {-5, 0}},
      {"9999999999.000000001", {9999999999, 1}}};
  for (const auto& [text, time] : times) {
    const TarListing read = ReadOne({.name = "f", .pax = {{"mtime", text}}});
    ASSERT_TRUE(read.status.ok()) << text << read.status;
    EXPECT_EQ(read.entries[0].mtime.tv_sec, time.first) << text;
    EXPECT_EQ(read.entries[0].mtime.tv_nsec, time.second) << text;
  }
}

TEST(TarFormat, ExtendedAttributesOfBothKinds) {
  const TarListing read = ReadOne({.name = "f",
                                   .pax = {{"LIBARCHIVE.xattr.user.a%20b", "aGVsbG8"},
                                           {"LIBARCHIVE.xattr.user.both", "aGVsbG8="},
                                           {"SCHILY.xattr.user.both", "hello"},
                                           {"SCHILY.xattr.user.e%3Dq", "%41"}}});
  ASSERT_TRUE(read.status.ok()) << read.status;
  const std::map<std::string, std::string> xattrs(read.entries[0].xattrs.begin(),
                                                  read.entries[0].xattrs.end());
  EXPECT_EQ(xattrs, (std::map<std::string, std::string>{
                        {"user.a b", "hello"}, {"user.both", "hello"}, {"user.e=q", "%41"}}));
  EXPECT_EQ(ReadOne({.name = "f", .pax = {{"LIBARCHIVE.xattr.user.a", "!!!"}}}).status.code(),
            kDataLoss);
}

// An old GNU header's map: four pieces in the header, more in blocks behind it.
TarBuilder OldGnuSparse(const std::vector<std::pair<uint64_t, uint64_t>>& map, uint64_t real_size,
                        const std::string& content) {
  const auto fill = [&map](char* at, size_t first, size_t count) {
    for (size_t i = first; i < std::min(first + count, map.size()); ++i, at += 24) {
      TarBuilder::Number(at, 12, map[i].first);
      TarBuilder::Number(at + 12, 12, map[i].second);
    }
  };
  TarBuilder tar;
  const std::string header = TarBuilder()
                                 .Add({.name = "f",
                                       .type = 'S',
                                       .content = content,
                                       .edit =
                                           [&](char* block) {
                                             Magic(kGnuMagic)(block);
                                             fill(block + 386, 0, 4);
                                             block[482] = map.size() > 4 ? 1 : 0;
                                             TarBuilder::Number(block + 483, 12, real_size);
                                           }})
                                 .bytes();
  tar.Raw(std::string_view(header).substr(0, 512));
  for (size_t first = 4; first < map.size(); first += 21) {
    char block[512] = {};
    fill(block, first, 21);
    block[504] = map.size() > first + 21 ? 1 : 0;
    tar.Raw({block, sizeof(block)});
  }
  tar.Raw(std::string_view(header).substr(512));
  return tar.File("next", "n");
}

TEST(TarFormat, SparseFilesOfOldGnu) {
  for (const size_t pieces : {size_t{0}, size_t{1}, size_t{4}, size_t{5}, size_t{25}, size_t{60}}) {
    std::vector<std::pair<uint64_t, uint64_t>> map;
    std::string content;
    std::string expected;
    for (size_t i = 0; i < pieces; ++i) {
      map.emplace_back(i * 1000, 3 + i % 5);
      content += std::string(3 + i % 5, static_cast<char>('a' + i % 26));
      expected.resize(i * 1000);
      expected += std::string(3 + i % 5, static_cast<char>('a' + i % 26));
    }
    map.emplace_back(100'000, 0);
    expected.resize(100'000);
    for (const size_t piece : {size_t{7}, size_t{1} << 16}) {
      const TarListing read =
          ReadTar(OldGnuSparse(map, 100'000, content).Finish(), LayerLimits(), piece);
      ASSERT_TRUE(read.status.ok()) << pieces << read.status;
      EXPECT_EQ(read.Names(), "f;next;");
      EXPECT_EQ(read.entries[0].size, 100'000u);
      EXPECT_TRUE(read.contents[0] == expected) << pieces;
      EXPECT_EQ(read.contents[1], "n");
    }
  }
}

TEST(TarFormat, SparseMapsThatLie) {
  using Map = std::vector<std::pair<uint64_t, uint64_t>>;
  for (const Map& map : {Map{{0, 3}},           // less than the content
                         Map{{0, 5}, {10, 1}},  // more
                         Map{{10, 3}, {0, 2}},  // backwards
                         Map{{0, 3}, {2, 2}},   // overlapping
                         Map{{98, 5}},          // past the end
                         Map{{INT64_MAX, 5}},   // and past every number
                         Map{{0, 3}, {50, INT64_MAX}, {60, 2}}}) {
    EXPECT_EQ(ReadTar(OldGnuSparse(map, 100, "hello").Finish()).status.code(), kDataLoss);
  }
  const std::string negative = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0";
  EXPECT_EQ(
      ReadOne({.name = "f", .type = 'S', .edit = Put(483, negative, kGnuMagic)}).status.code(),
      kDataLoss);
  EXPECT_EQ(
      ReadOne({.name = "f", .type = 'S', .edit = Put(386, negative + "00000000001", kGnuMagic)})
          .status.code(),
      kDataLoss);
  // Blocks of the map without end.
  TarBuilder endless;
  endless.Add({.name = "f", .type = 'S', .edit = Put(482, "\x01", kGnuMagic)});
  std::string block(512, '\0');
  block[504] = 1;
  for (int i = 0; i < 10'000; ++i) {
    endless.Raw(block);
  }
  EXPECT_EQ(ReadTar(endless.Finish()).status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(TarFormat, SparseFilesOfPax) {
  const auto file = [](const std::map<std::string, std::string>& pax, const std::string& content) {
    return ReadOne({.name = "f", .content = content, .pax = pax});
  };
  TarListing read = file({{"GNU.sparse.map", "0,2,10,3,20,0"}, {"GNU.sparse.size", "20"}}, "hello");
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.contents[0], std::string("he\0\0\0\0\0\0\0\0llo\0\0\0\0\0\0\0", 20));
  // 0.0 repeats its keys, in order.
  std::string records = TarBuilder::PaxRecord("GNU.sparse.size", "20");
  for (const auto& [offset, size] : {std::pair{"0", "2"}, {"10", "3"}, {"20", "0"}}) {
    records += TarBuilder::PaxRecord("GNU.sparse.offset", offset) +
               TarBuilder::PaxRecord("GNU.sparse.numbytes", size);
  }
  TarBuilder tar;
  tar.Add({.name = "pax", .type = 'x', .content = records}).File("f", "hello");
  read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.contents[0], std::string("he\0\0\0\0\0\0\0\0llo\0\0\0\0\0\0\0", 20));

  for (const auto& pax : std::vector<std::map<std::string, std::string>>{
           {{"GNU.sparse.map", "0,2,10"}, {"GNU.sparse.size", "20"}},
           {{"GNU.sparse.map", "0,2,,3"}, {"GNU.sparse.size", "20"}},
           {{"GNU.sparse.map", "0,-5"}, {"GNU.sparse.size", "20"}},
           {{"GNU.sparse.map", "0,5"}, {"GNU.sparse.size", "-20"}},
           {{"GNU.sparse.map", "0,5"}, {"GNU.sparse.size", "4"}},
           {{"GNU.sparse.map", "9223372036854775807,5"}, {"GNU.sparse.size", "20"}},
           {{"GNU.sparse.map", "0,5"}, {"GNU.sparse.major", "2"}, {"GNU.sparse.minor", "0"}},
           {{"GNU.sparse.major", "1"}},
           {{"GNU.sparse.numbytes", "5"}},
           {{"GNU.sparse.offset", "5"}}}) {
    EXPECT_EQ(file(pax, "hello").status.code(), kDataLoss) << pax.begin()->second;
  }
  const std::map<std::string, std::string> in_content = {
      {"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "20"}};
  for (const std::string& map :
       {std::string("1\n0\n"), std::string("x\n"), std::string("-1\n"),
        std::string("99999999999999999999\n"), std::string("18446744073709551615\n0\n1\n"),
        std::string("1\n0\n6\n")}) {
    std::string content = map;
    content.resize(512);
    EXPECT_EQ(file(in_content, content + "hello").status.code(), kDataLoss) << map;
    EXPECT_EQ(file(in_content, map).status.code(), kDataLoss) << map;
  }
}

TEST(TarFormat, ASingleBlockOfZerosEndsNothing) {
  EXPECT_EQ(
      ReadTar(TarBuilder().File("f", "x").Raw(std::string(512, '\0')).File("hidden", "y").Finish())
          .status.code(),
      kDataLoss);
  EXPECT_EQ(ReadTar(TarBuilder().File("f", "x").Finish() + TarBuilder().File("after", "y").bytes())
                .Names(),
            "f;");
}

TEST(TarFormat, ExtendedHeadersOfNothing) {
  const std::string pax =
      TarBuilder().Add({.name = "p", .type = 'x', .content = "9 path=x\n"}).bytes();
  EXPECT_EQ(ReadTar(pax).status.code(), kDataLoss);
  EXPECT_EQ(ReadTar(pax + std::string(1024, '\0')).status.code(), kDataLoss);
}

TEST(TarFormat, HugeClaimsTakeNoMemory) {
  for (const char type : {'x', 'g', 'L', 'K'}) {
    const TarListing read = ReadOne({.name = "f", .type = type, .edit = Put(124, "77777777777")});
    EXPECT_EQ(read.status.code(), absl::StatusCode::kResourceExhausted) << type << read.status;
  }
}

TEST(TarFormat, DevicesThatCannotBe) {
  for (const size_t at : {size_t{329}, size_t{337}}) {
    EXPECT_EQ(ReadOne({.name = "d", .type = '3', .edit = Put(at, "7777777")}).status.code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(ReadOne({.name = "f", .edit = Put(329, "garbage!")}).status.ok()) << "of a file";
}

}  // namespace
}  // namespace berth::archive
