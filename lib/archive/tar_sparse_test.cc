// Sparse files of every kind, and maps that lie.
#include <cstring>

#include "lib/archive/tar_reader.h"
#include "lib/archive/testing/tar_edits.h"

namespace berth::archive {
namespace {

constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;

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

TEST(TarSparse, SparseFilesOfOldGnu) {
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

TEST(TarSparse, SparseMapsThatLie) {
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
  // In a header that has other things in its place.
  EXPECT_EQ(ReadOne({.name = "f", .type = 'S'}).status.code(), kDataLoss);
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

TEST(TarSparse, SparseFilesOfPax) {
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

}  // namespace
}  // namespace berth::archive
