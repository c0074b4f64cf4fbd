#include "lib/archive/tar_reader.h"

#include <sys/sysmacros.h>

#include <cstring>
#include <map>

#include "lib/archive/testing/tar_builder.h"
#include "lib/archive/testing/tar_listing.h"

namespace berth::archive {
namespace {

TEST(TarReader, ReadsEveryKind) {
  TarBuilder tar;
  tar.Add({.name = "d/", .type = '5', .mode = 01777, .uid = 3, .gid = 4, .mtime = 12345});
  tar.Add(
      {.name = "d/f", .content = "hello", .mode = 04755, .uid = 3'000'000, .gid = 4'000'000'000});
  tar.Symlink("d/s", "../x").HardLink("d/h", "d/f");
  tar.Add({.name = "c", .type = '3', .dev_major = 1, .dev_minor = 3});
  tar.Add({.name = "b", .type = '4', .dev_major = 8, .dev_minor = 1});
  tar.Add({.name = "p", .type = '6'});
  for (const size_t piece : {size_t{1}, size_t{511}, size_t{1} << 16}) {
    const TarListing read = ReadTar(tar.Finish(), LayerLimits(), piece);
    ASSERT_TRUE(read.status.ok()) << read.status;
    ASSERT_EQ(read.entries.size(), 7u);
    EXPECT_EQ(read.entries[0].kind, TarEntry::Kind::kDirectory);
    EXPECT_EQ(read.entries[0].mode, 01777u);
    EXPECT_EQ(read.entries[0].uid, 3u);
    EXPECT_EQ(read.entries[0].mtime.tv_sec, 12345);
    EXPECT_EQ(read.entries[1].kind, TarEntry::Kind::kFile);
    EXPECT_EQ(read.entries[1].mode, 04755u);
    EXPECT_EQ(read.entries[1].uid, 3'000'000u);
    EXPECT_EQ(read.entries[1].gid, 4'000'000'000u);
    EXPECT_EQ(read.contents[1], "hello");
    EXPECT_EQ(read.entries[2].kind, TarEntry::Kind::kSymlink);
    EXPECT_EQ(read.entries[2].link, "../x");
    EXPECT_EQ(read.entries[3].kind, TarEntry::Kind::kHardLink);
    EXPECT_EQ(read.entries[3].link, "d/f");
    EXPECT_EQ(read.entries[4].kind, TarEntry::Kind::kCharDevice);
    EXPECT_EQ(read.entries[4].device, makedev(1, 3));
    EXPECT_EQ(read.entries[5].kind, TarEntry::Kind::kBlockDevice);
    EXPECT_EQ(read.entries[6].kind, TarEntry::Kind::kFifo);
  }
}

TEST(TarReader, PaxRecordsWin) {
  const std::string name = std::string(200, 'n') + "/\xc3\xa4";
  const std::string capability(
      "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
  TarBuilder tar;
  tar.Add({.name = "short",
           .content = "x",
           .pax = {{"path", name},
                   {"uid", "70000"},
                   {"mtime", "1600000000.123456789"},
                   {"SCHILY.xattr.security.capability", capability},
                   {"SCHILY.xattr.user.n", std::string("a\0b", 3)}}});
  const TarListing read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  ASSERT_EQ(read.entries.size(), 1u);
  EXPECT_EQ(read.entries[0].name, name);
  EXPECT_EQ(read.entries[0].uid, 70000u);
  EXPECT_EQ(read.entries[0].mtime.tv_sec, 1600000000);
  EXPECT_EQ(read.entries[0].mtime.tv_nsec, 123456789);
  std::map<std::string, std::string> xattrs(read.entries[0].xattrs.begin(),
                                            read.entries[0].xattrs.end());
  EXPECT_EQ(xattrs["security.capability"], capability);
  EXPECT_EQ(xattrs["user.n"], std::string("a\0b", 3));
}

TEST(TarReader, NamesAreBytes) {
  // Latin-1, in ustar and in pax headers, as Go's writer leaves them (with what is ASCII of them in
  // the short field).
  TarBuilder tar;
  tar.File("caf\xe9", "1");
  tar.Add({.name = "x",
           .type = '2',
           .link = "caf",
           .pax = {{"path", "th\xe9"}, {"linkpath", "caf\xe9"}}});
  tar.Add({.name = "y",
           .type = '1',
           .link = "caf",
           .pax = {{"path", "h\xe9"}, {"linkpath", "caf\xe9"}}});
  const TarListing read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  ASSERT_EQ(read.entries.size(), 3u);
  EXPECT_EQ(read.entries[0].name, "caf\xe9");
  EXPECT_EQ(read.entries[1].name, "th\xe9");
  EXPECT_EQ(read.entries[1].link, "caf\xe9");
  EXPECT_EQ(read.entries[2].name, "h\xe9");
  EXPECT_EQ(read.entries[2].link, "caf\xe9");
}

TEST(TarReader, EmptyArchives) {
  EXPECT_TRUE(ReadTar("").status.ok());
  EXPECT_TRUE(ReadTar(std::string(1024, '\0')).status.ok());
  EXPECT_TRUE(ReadTar(std::string(10240, '\0')).status.ok());
}

TEST(TarReader, WithoutTheFinalZerosItEndsAllTheSame) {
  const TarListing read = ReadTar(TarBuilder().File("f", "hello").bytes());
  EXPECT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.entries.size(), 1u);
}

TEST(TarReader, CorruptStreamsAreErrors) {
  const std::string good = TarBuilder().File("f", std::string(2000, 'x')).File("g", "y").Finish();
  EXPECT_EQ(ReadTar("this is no tar stream, whatever it is called").status.code(),
            absl::StatusCode::kDataLoss);
  const absl::Status garbage = ReadTar(std::string(5000, 'x')).status;
  EXPECT_EQ(garbage.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(garbage.ToString().find("not a tar stream"), std::string::npos) << garbage;
  for (const size_t size :
       {size_t{100}, size_t{511}, size_t{600}, size_t{2000}, size_t{2560 + 100}}) {
    EXPECT_EQ(ReadTar(good.substr(0, size)).status.code(), absl::StatusCode::kDataLoss) << size;
  }
  std::string bad = good;
  bad[2560] ^= 1;  // the second header's name: its checksum is wrong now
  EXPECT_EQ(ReadTar(bad).status.code(), absl::StatusCode::kDataLoss);
}

TEST(TarReader, OwnersThatAreNoIdsAreRefused) {
  for (const uint64_t uid : {uint64_t{0xffffffff}, uint64_t{1} << 40}) {
    const TarListing read = ReadTar(TarBuilder().Add({.name = "f", .uid = uid}).Finish());
    EXPECT_EQ(read.status.code(), absl::StatusCode::kInvalidArgument) << uid << read.status;
  }
  EXPECT_FALSE(
      ReadTar(TarBuilder().Add({.name = "f", .pax = {{"uid", "-1"}}}).Finish()).status.ok());
}

TEST(TarReader, SparseFilesKeepTheirHoles) {
  // GNU format 1.0: the map stands in front of the data.
  std::string content = "2\n0\n5\n1000000\n3\n";
  content.resize(512, '\0');
  content += "helloend";
  TarBuilder tar;
  tar.Add({.name = "GNUSparseFile.1/f",
           .content = content,
           .pax = {{"GNU.sparse.major", "1"},
                   {"GNU.sparse.minor", "0"},
                   {"GNU.sparse.name", "f"},
                   {"GNU.sparse.realsize", "1000003"}}});
  const TarListing read = ReadTar(tar.Finish());
  ASSERT_TRUE(read.status.ok()) << read.status;
  ASSERT_EQ(read.entries.size(), 1u);
  EXPECT_EQ(read.entries[0].name, "f");
  EXPECT_EQ(read.entries[0].size, 1000003u);
  EXPECT_EQ(read.contents[0], "hello" + std::string(999995, '\0') + "end");
}

TEST(TarReader, HugeSparseMapsAreRefused) {
  std::string content = "5000000\n";
  for (int i = 0; i < 5'000'000; ++i) {
    content += "0\n0\n";
  }
  TarBuilder tar;
  tar.Add(
      {.name = "GNUSparseFile.1/f",
       .content = content,
       .pax = {{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", "f"}}});
  const TarListing read = ReadTar(tar.Finish());
  EXPECT_EQ(read.status.code(), absl::StatusCode::kResourceExhausted) << read.status;
}

TEST(TarReader, EndlessExtendedHeadersAreRefused) {
  TarBuilder tar;
  for (int i = 0; i < 10'000; ++i) {
    tar.Add({.name = "././@LongLink", .type = 'L', .content = std::string(4000, 'n')});
  }
  EXPECT_FALSE(ReadTar(tar.Finish()).status.ok());
  TarBuilder huge;
  huge.Add({.name = "f", .pax = {{"comment", std::string(9 << 20, 'c')}}});
  EXPECT_FALSE(ReadTar(huge.Finish()).status.ok());
}

TEST(TarReader, XattrsAreBounded) {
  const TarListing read = ReadTar(
      TarBuilder()
          .Add({.name = "f", .pax = {{"SCHILY.xattr.user.big", std::string((64 << 10) + 1, 'v')}}})
          .Finish());
  EXPECT_EQ(read.status.code(), absl::StatusCode::kInvalidArgument) << read.status;
}

// Puts the stream together again.
class Recorder : public TarTap {
 public:
  absl::Status Raw(std::string_view bytes) override {
    all.append(bytes);
    raw += bytes.size();
    return absl::OkStatus();
  }
  absl::Status Content(uint64_t /*offset*/, std::string_view bytes) override {
    all.append(bytes);
    content.append(bytes);
    return absl::OkStatus();
  }
  std::string all;
  std::string content;
  size_t raw = 0;
};

std::string AllKindsOfHeaders() {
  std::string map = "2\n0\n5\n1000\n3\n";
  map.resize(512, '\0');
  TarBuilder tar;
  tar.Dir("d/").File("d/f", "hello").Symlink("s", "d/f").HardLink("h", "d/f");
  tar.Add({.name = "x", .content = "pax", .pax = {{"path", "long"}, {"mtime", "1.5"}}});
  tar.Add({.name = "././@LongLink", .type = 'L', .content = std::string(200, 'n')});
  tar.Add({.name = "n", .type = '3', .dev_major = 1, .dev_minor = 3});
  tar.Add(
      {.name = "sparse",
       .content = map + "helloend",
       .pax = {
           {"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "2000"}}});
  return tar.Finish();
}

TEST(TarReader, TheTapSeesEveryByteOnce) {
  const std::string tar = AllKindsOfHeaders() + "after the end";
  for (const size_t piece : {size_t{1}, size_t{100}, size_t{513}, size_t{1} << 16}) {
    Recorder tap;
    const TarListing read = ReadTar(tar, LayerLimits(), piece, &tap);
    ASSERT_TRUE(read.status.ok()) << read.status;
    EXPECT_TRUE(tap.all == tar);
    EXPECT_EQ(tap.content, "hellopaxhelloend");
    EXPECT_EQ(tap.raw, tar.size() - tap.content.size());
  }
}

TEST(TarReader, ContentThatNobodyReadIsRaw) {
  const std::string tar = TarBuilder().File("f", "hello").File("g", "x").Finish();
  StringSource source(tar, 100);
  const LayerLimits limits;
  Recorder tap;
  TarReader reader(source, limits, &tap);
  TarEntry entry;
  ASSERT_TRUE(*reader.Next(entry));
  ASSERT_TRUE(*reader.Next(entry));
  EXPECT_EQ(entry.name, "g");
  ASSERT_FALSE(*reader.Next(entry));
  ASSERT_FALSE(*reader.Next(entry)) << "the end stays";
  EXPECT_EQ(tap.content, "");
  EXPECT_TRUE(tap.all == tar);
}

TEST(TarReader, CutOffAtEveryByte) {
  const std::string tar = AllKindsOfHeaders();
  const size_t entries = ReadTar(tar).entries.size();
  for (size_t size = 0; size < tar.size(); ++size) {
    const TarListing read = ReadTar(tar.substr(0, size));
    if (!read.status.ok()) {
      ASSERT_EQ(read.status.code(), absl::StatusCode::kDataLoss) << size << read.status;
    } else {
      // Where a header could begin an archive may end.
      ASSERT_EQ(size % 512, 0u) << size;
      ASSERT_LE(read.entries.size(), entries);
    }
  }
}

// With the checksum made right again.
TEST(TarReader, EveryByteChanged) {
  const std::string tar = AllKindsOfHeaders();
  size_t errors = 0;
  for (size_t at = 0; at < tar.size(); ++at) {
    for (const unsigned char flip : {0x01, 0x40, 0x80, 0xff}) {
      std::string bad = tar;
      bad[at] = static_cast<char>(bad[at] ^ flip);
      const size_t block = at / 512 * 512;
      if (std::memcmp(tar.data() + block + 257, "ustar", 5) == 0) {
        std::memset(bad.data() + block + 148, ' ', 8);
        unsigned sum = 0;
        for (size_t i = block; i < block + 512; ++i) {
          sum += static_cast<unsigned char>(bad[i]);
        }
        std::snprintf(bad.data() + block + 148, 8, "%06o", sum);
      }
      const absl::Status status = ReadTar(bad).status;
      errors += status.ok() ? 0 : 1;
      ASSERT_TRUE(status.ok() || absl::IsDataLoss(status) || absl::IsInvalidArgument(status) ||
                  absl::IsResourceExhausted(status))
          << at << status;
    }
  }
  EXPECT_GT(errors, 500u);
  EXPECT_LT(errors, tar.size());
}

}  // namespace
}  // namespace berth::archive
