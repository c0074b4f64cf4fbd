// The formats of tar archives, one trait at a time, and archives that lie.
#include <sys/sysmacros.h>

#include <cstring>

#include "lib/archive/tar_reader.h"
#include "lib/archive/testing/tar_builder.h"
#include "lib/archive/testing/tar_edits.h"

namespace berth::archive {
namespace {

constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;

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
