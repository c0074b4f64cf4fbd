#include "lib/archive/entry_path.h"

#include <gtest/gtest.h>

namespace berth::archive {
namespace {

TEST(CleanEntryPath, CleansByText) {
  const std::pair<const char*, const char*> cases[] = {
      {"", ""},
      {".", ""},
      {"./", ""},
      {"/", ""},
      {"usr", "usr"},
      {"./usr/", "usr"},
      {"/etc/passwd", "etc/passwd"},
      {"//usr///lib//x", "usr/lib/x"},
      {"a/./b/.", "a/b"},
      {"a/../b", "b"},
      {"a/b/../../c", "c"},
      {"a/..", ""},
      {"...", "..."},
      {"..a/b..", "..a/b.."},
      {"a\nb/\xff\xfe", "a\nb/\xff\xfe"},
  };
  for (const auto& [raw, clean] : cases) {
    const auto got = CleanEntryPath(raw, LayerLimits());
    ASSERT_TRUE(got.ok()) << raw << ": " << got.status();
    EXPECT_EQ(*got, clean) << raw;
  }
}

TEST(CleanEntryPath, RefusesWhatLeadsOut) {
  for (const char* raw : {"..", "../x", "/..", "/../x", "a/../../x", "./../x", "a/b/../../../x"}) {
    const auto got = CleanEntryPath(raw, LayerLimits());
    ASSERT_FALSE(got.ok()) << raw;
    EXPECT_EQ(got.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(got.status().message()).find("leads out of the layer"), std::string::npos)
        << got.status();
  }
}

TEST(CleanEntryPath, RefusesWhatNoFileSystemTakes) {
  EXPECT_TRUE(CleanEntryPath(std::string(255, 'a'), LayerLimits()).ok());
  EXPECT_FALSE(CleanEntryPath(std::string(256, 'a'), LayerLimits()).ok());
  std::string deep;
  for (size_t i = 0; i < LayerLimits().max_path_depth; ++i) {
    deep += "a/";
  }
  EXPECT_TRUE(CleanEntryPath(deep, LayerLimits()).ok());
  EXPECT_FALSE(CleanEntryPath(deep + "a", LayerLimits()).ok());
  std::string wide;
  for (int i = 0; i < 20; ++i) {
    wide += std::string(250, 'b') + "/";
  }
  EXPECT_FALSE(CleanEntryPath(wide, LayerLimits()).ok());
}

TEST(SplitEntryPath, SplitsAtTheLastSlash) {
  EXPECT_EQ(SplitEntryPath("usr/lib/x").parent, "usr/lib");
  EXPECT_EQ(SplitEntryPath("usr/lib/x").name, "x");
  EXPECT_EQ(SplitEntryPath("x").parent, "");
  EXPECT_EQ(SplitEntryPath("x").name, "x");
}

TEST(ParseWhiteout, TellsThemApart) {
  using Kind = Whiteout::Kind;
  const std::tuple<const char*, Kind, const char*> cases[] = {
      {"etc/passwd", Kind::kNone, ""},
      {"etc/x.wh.y", Kind::kNone, ""},
      {"etc/.wh", Kind::kNone, ""},
      {"etc/.wh.passwd", Kind::kHide, "passwd"},
      {".wh.x", Kind::kHide, "x"},
      {".wh..hidden", Kind::kHide, ".hidden"},
      {".wh....", Kind::kHide, "..."},
      {"etc/.wh..wh..opq", Kind::kOpaque, ""},
      {".wh..wh..opq", Kind::kOpaque, ""},
      {".wh..wh.aufs", Kind::kIgnored, ""},
      {".wh..wh.plnk/12.34", Kind::kIgnored, ""},
  };
  for (const auto& [path, kind, hidden] : cases) {
    const auto got = ParseWhiteout(path);
    ASSERT_TRUE(got.ok()) << path;
    EXPECT_EQ(got->kind, kind) << path;
    EXPECT_EQ(got->hidden, hidden) << path;
  }
}

TEST(ParseWhiteout, RefusesWhatHidesSomethingElsewhere) {
  for (const char* path : {".wh.", "etc/.wh.", ".wh..", "etc/.wh...", ".wh.a/b", "a/.wh.b/c"}) {
    EXPECT_EQ(ParseWhiteout(path).status().code(), absl::StatusCode::kInvalidArgument) << path;
  }
}

}  // namespace
}  // namespace berth::archive
