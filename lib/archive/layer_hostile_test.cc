// Layers that try to get out of their root, or to use up the machine. The fixture checks after
// every test that nothing beside the root was made or changed. Needs root.
#include <sys/mman.h>
#include <sys/mount.h>

#include <cstring>

#include "lib/archive/layer_recipe.h"
#include "lib/archive/testing/layer_test_dir.h"
#include "lib/archive/testing/tar_builder.h"

namespace berth::archive {
namespace {

class LayerHostileTest : public LayerTest {
 protected:
  void Refused(const TarBuilder& tar, absl::StatusCode code, const std::string& reason) {
    NewRoot();
    const auto result = Unpack(tar.Finish());
    ASSERT_FALSE(result.ok()) << "expected: " << reason;
    EXPECT_EQ(result.status().code(), code) << result.status();
    const std::string message(result.status().message());
    EXPECT_NE(message.find(reason), std::string::npos) << message;
    EXPECT_EQ(message.rfind("unpack layer 'sha256:test': ", 0), 0u) << message;
    EXPECT_NE(message.find("byte "), std::string::npos) << message;
    EXPECT_EQ(Outside(), "victim=untouched;");
  }
  void Invalid(const TarBuilder& tar, const std::string& reason) {
    Refused(tar, absl::StatusCode::kInvalidArgument, reason);
  }
};

TEST_F(LayerHostileTest, ROOT_DotDotNames) {
  for (const char* name :
       {"../x", "../outside/victim", "a/../../x", "/../x", "..", "./../outside/victim"}) {
    Invalid(TarBuilder().File(name, "evil"), "leads out of the layer");
    Invalid(TarBuilder().Dir(name), "leads out of the layer");
    Invalid(TarBuilder().Symlink(name, "x"), "leads out of the layer");
    Invalid(TarBuilder().File("f", "").HardLink(name, "f"), "leads out of the layer");
    Invalid(TarBuilder().Add({.name = name, .type = '3', .dev_major = 1, .dev_minor = 3}),
            "leads out of the layer");
  }
  Invalid(
      TarBuilder().Add({.name = "x", .content = "evil", .pax = {{"path", "../outside/victim"}}}),
      "leads out");
}

TEST_F(LayerHostileTest, ROOT_AbsoluteNamesStayInside) {
  const std::string victim = dir_ + "/outside/victim";
  ASSERT_TRUE(Unpack(TarBuilder().File(victim, "evil").Finish()).ok());
  EXPECT_EQ(Content(victim), "evil");  // below the root
}

TEST_F(LayerHostileTest, ROOT_WritingThroughASymlinkStaysInside) {
  // To a directory outside, absolute and relative; with the target missing inside, and present.
  for (const std::string& target :
       {dir_ + "/outside", std::string("../outside"), std::string("../../../../../../tmp")}) {
    NewRoot();
    const auto result = Unpack(TarBuilder().Symlink("l", target).File("l/victim", "evil").Finish());
    EXPECT_FALSE(result.ok());
    NewRoot();
    const auto made = Unpack(TarBuilder()
                                 .Dir("outside")
                                 .Dir("tmp")
                                 .Dir(dir_ + "/outside")
                                 .Symlink("l", target)
                                 .File("l/victim", "evil")
                                 .Finish());
    ASSERT_TRUE(made.ok()) << made.status();
  }
}

TEST_F(LayerHostileTest, ROOT_FilesReplaceSymlinksInsteadOfFollowingThem) {
  TarBuilder tar;
  tar.Symlink("f", dir_ + "/outside/victim").File("f", "evil");
  tar.Symlink("n", dir_ + "/outside/new").File("n", "evil");
  tar.Symlink("d", dir_ + "/outside").Dir("d").File("d/victim", "evil");
  tar.Symlink("p", dir_ + "/outside/fifo").Add({.name = "p", .type = '6'});
  tar.Symlink("w", dir_ + "/outside").File("w/../.wh.w", "");
  ASSERT_TRUE(Unpack(tar.Finish()).ok());
  EXPECT_EQ(Content("f"), "evil");
  EXPECT_EQ(Content("d/victim"), "evil");
}

TEST_F(LayerHostileTest, ROOT_SwappingADirectoryForASymlinkBetweenEntries) {
  // CVE-2025-47290: what was learnt of a parent must not outlive it.
  TarBuilder tar;
  tar.Dir("d").File("d/one", "1").Symlink("d", dir_ + "/outside").File("d/victim", "evil");
  EXPECT_FALSE(Unpack(tar.Finish()).ok());
  NewRoot();
  TarBuilder deep;
  deep.Dir("a")
      .Dir("a/b")
      .Dir("a/b/c")
      .File("a/b/c/f", "1")
      .Symlink("a/b", dir_ + "/outside")
      .File("a/b/c/victim", "evil");
  EXPECT_FALSE(Unpack(deep.Finish()).ok());
  NewRoot();
  TarBuilder back;
  back.Symlink("d", "/real").Dir("real").File("d/x", "1").Dir("d").File("d/x", "2");
  ASSERT_TRUE(Unpack(back.Finish()).ok());
  EXPECT_EQ(Content("real/x"), "1");
  EXPECT_EQ(Content("d/x"), "2");
}

TEST_F(LayerHostileTest, ROOT_DirectoryAttributesDoNotGoThroughSymlinks) {
  // CVE-2021-32760: the mode of an earlier directory, applied at the end, must not hit what a
  // symlink points to.
  ASSERT_EQ(::chmod((dir_ + "/outside").c_str(), 0700), 0);
  TarBuilder tar;
  tar.Add({.name = "d/", .type = '5', .mode = 0777, .uid = 1}).Symlink("d", dir_ + "/outside");
  tar.Add({.name = "e/x/", .type = '5', .mode = 0777, .uid = 1}).Dir("g/x").Symlink("e", "g");
  ASSERT_TRUE(Unpack(tar.Finish()).ok());
  struct stat st;
  ASSERT_EQ(::stat((dir_ + "/outside").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  EXPECT_EQ(st.st_uid, 0u);
  EXPECT_EQ(Stat("g/x").st_mode & 07777, 0755u) << "another directory that took the name";
}

TEST_F(LayerHostileTest, ROOT_DirectoryAttributesStayWithTheirDirectory) {
  // Described by way of a symlink that leads elsewhere in the end.
  TarBuilder tar;
  tar.Dir("d").Dir("g").Dir("g/sub").Symlink("l", "d");
  tar.Add({.name = "l/sub/", .type = '5', .mode = 0700, .uid = 7}).Symlink("l", "g");
  ASSERT_TRUE(Unpack(tar.Finish()).ok());
  EXPECT_EQ(Stat("g/sub").st_mode & 07777, 0755u);
  EXPECT_EQ(Stat("g/sub").st_uid, 0u);
}

TEST_F(LayerHostileTest, ROOT_HardLinkTargetsAreLookedUpAnewAfterAReplacement) {
  TarBuilder tar;
  tar.Dir("a")
      .File("a/f", "old")
      .HardLink("x", "a/f")
      .File("a", "")
      .Dir("a")
      .File("a/f", "new")
      .HardLink("y", "a/f");
  const auto result = Unpack(tar.Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Content("x"), "old");
  EXPECT_EQ(Content("y"), "new");
}

TEST_F(LayerHostileTest, ROOT_HardLinksOut) {
  Invalid(TarBuilder().HardLink("h", "../outside/victim"), "leads out of the layer");
  Invalid(TarBuilder().HardLink("h", dir_ + "/outside/victim"), "no such file before it");
  Invalid(TarBuilder().HardLink("h", "/etc/passwd"), "no such file before it");
  Invalid(TarBuilder().Symlink("l", dir_ + "/outside").HardLink("h", "l/victim"),
          "no such file before it");
  Invalid(TarBuilder().Symlink("l", "../outside").HardLink("h", "l/victim"),
          "no such file before it");
  Invalid(TarBuilder().Dir("d").HardLink("h", "d"), "is a directory");
  Invalid(TarBuilder().HardLink("h", "."), "no such file before it");
  Invalid(TarBuilder().HardLink("h", "later").File("later", ""), "no such file before it");
  Invalid(TarBuilder().Dir("a").File("a/f", "x").HardLink("a", "a/f"),
          "replace a directory above its target");
}

TEST_F(LayerHostileTest, ROOT_AHardLinkToASymlinkIsTheSymlink) {
  ASSERT_TRUE(Unpack(TarBuilder()
                         .Symlink("l", dir_ + "/outside/victim")
                         .HardLink("h", "l")
                         .Add({.name = "h", .content = "evil", .mode = 04777, .uid = 3})
                         .Finish())
                  .ok());
  EXPECT_EQ(Content("h"), "evil");
  struct stat st;
  ASSERT_EQ(::stat((dir_ + "/outside/victim").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0644u);
}

TEST_F(LayerHostileTest, ROOT_WhiteoutsOutside) {
  Invalid(TarBuilder().File("../.wh.victim", ""), "leads out of the layer");
  Invalid(TarBuilder().File("../outside/.wh..wh..opq", ""), "leads out of the layer");
  Invalid(TarBuilder().File(".wh...", ""), "names no file");
  Invalid(TarBuilder().File("d/.wh...", ""), "names no file");
  Invalid(TarBuilder().File(".wh.", ""), "names no file");
  Invalid(TarBuilder().File(".wh.x/y", ""), "below a whiteout");
  NewRoot();
  EXPECT_FALSE(
      Unpack(TarBuilder().Symlink("l", dir_ + "/outside").File("l/.wh.victim", "").Finish()).ok());
  NewRoot();
  EXPECT_FALSE(
      Unpack(TarBuilder().Symlink("l", "../outside").File("l/.wh..wh..opq", "").Finish()).ok());
}

TEST_F(LayerHostileTest, ROOT_WhatIsNoDirectoryIsNoParent) {
  Invalid(TarBuilder().File("f", "x").File("f/y", "y"), "used as a directory");
  Invalid(TarBuilder().Add({.name = "p", .type = '6'}).File("p/y", "y"), "used as a directory");
  Invalid(TarBuilder().Add({.name = "p", .type = '3', .dev_major = 1, .dev_minor = 3}).Dir("p/y"),
          "used as a directory");
  Invalid(TarBuilder().File(".", "the root as a file"), "is the root");
  NewRoot();
  EXPECT_FALSE(Unpack(TarBuilder().Symlink("l", "l").File("l/x", "loop").Finish()).ok());
  NewRoot();
  EXPECT_FALSE(
      Unpack(TarBuilder().Symlink("l", "/proc/self/root").File("l/x", "magic").Finish()).ok());
}

TEST_F(LayerHostileTest, ROOT_SymlinksOfNoOrTooMuchLength) {
  Invalid(TarBuilder().Symlink("l", ""), "0 bytes");
  Invalid(
      TarBuilder().Add(
          {.name = "l", .type = '2', .link = "x", .pax = {{"linkpath", std::string(5000, 'x')}}}),
      "5000 bytes");
}

TEST_F(LayerHostileTest, ROOT_ManyEntriesAndLongNames) {
  LayerLimits limits;
  limits.max_entries = 10;
  TarBuilder tar;
  for (int i = 0; i < 11; ++i) {
    tar.File("f" + std::to_string(i), "");
  }
  auto result = Unpack(tar.Finish(), limits);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kResourceExhausted) << result.status();
  EXPECT_NE(std::string(result.status().message()).find("more than 10 entries"), std::string::npos);

  limits = LayerLimits();
  limits.max_directory_bytes = 10'000;
  TarBuilder dirs;
  for (int i = 0; i < 1000; ++i) {
    dirs.File(std::to_string(i) + "/f", "");
  }
  NewRoot();
  EXPECT_EQ(Unpack(dirs.Finish(), limits).status().code(), absl::StatusCode::kResourceExhausted);
  Invalid(TarBuilder().Add({.name = "x", .pax = {{"path", std::string(300, 'n')}}}),
          "a name of 300 bytes");
}

TEST_F(LayerHostileTest, ROOT_Bombs) {
  LayerLimits limits;
  limits.free_unpacked_bytes = 1 << 20;
  limits.max_ratio = 100;
  const std::string bomb = TarBuilder().File("zeros", std::string(20 << 20, '\0')).Finish();
  for (const std::string& bytes : {Gzip(bomb), Zstd(bomb)}) {
    NewRoot();
    const auto result = Unpack(bytes, limits);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kResourceExhausted) << result.status();
    EXPECT_NE(std::string(result.status().message()).find("more than 100 times"),
              std::string::npos);
  }
  NewRoot();
  EXPECT_TRUE(Unpack(bomb, limits).ok()) << "not compressed, it is no bomb";
  limits.max_unpacked_bytes = 1 << 20;
  NewRoot();
  EXPECT_EQ(Unpack(bomb, limits).status().code(), absl::StatusCode::kResourceExhausted);
  // A file that claims to be huge, by holes alone.
  std::string content = "1\n0\n1\n";
  content.resize(512, '\0');
  Refused(TarBuilder().Add({.name = "GNUSparseFile.1/f",
                            .content = content + "x",
                            .pax = {{"GNU.sparse.major", "1"},
                                    {"GNU.sparse.minor", "0"},
                                    {"GNU.sparse.name", "f"},
                                    {"GNU.sparse.realsize", "4611686018427387904"}}}),
          absl::StatusCode::kResourceExhausted, "its files have more than");
}

TEST_F(LayerHostileTest, ROOT_TruncatedAtManyOffsets) {
  TarBuilder tar;
  tar.Dir("d").Symlink("d/l", "f");
  for (int i = 0; i < 20; ++i) {
    std::string content;
    for (int j = 0; j < 300 * i; ++j) {
      content += std::to_string(j * 7919 % 1000);
    }
    tar.File("d/f" + std::to_string(i), content);
  }
  for (const std::string& bytes : {Gzip(tar.Finish()), Zstd(tar.Finish())}) {
    for (size_t size = 4; size < bytes.size(); size += bytes.size() / 150 + 1) {
      NewRoot();
      const auto result = Unpack(bytes.substr(0, size));
      ASSERT_FALSE(result.ok()) << size << " of " << bytes.size();
      EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss) << result.status();
      EXPECT_NE(std::string(result.status().message()).find("sha256:test"), std::string::npos);
    }
  }
}

TEST_F(LayerHostileTest, ROOT_RandomBytesNeverGetOut) {
  TarBuilder tar;
  tar.Dir("d")
      .File("d/f", "content")
      .Symlink("l", "../outside")
      .File("l2", "x")
      .HardLink("h", "d/f")
      .File("d/f", "again")
      .File(".wh.w", "")
      .File("e/f", "f")
      .File("e/.wh..wh..opq", "")
      .Add({.name = "p", .content = "p", .pax = {{"mtime", "1.5"}, {"SCHILY.xattr.user.a", "b"}}});
  const std::string good = tar.Finish();
  unsigned random = 12345;
  int unpacked = 0;
  for (int round = 0; round < 400; ++round) {
    std::string bad = good;
    for (int change = 0; change < 3; ++change) {
      random = random * 1664525 + 1013904223;
      bad[random % (good.size() - 1024)] = static_cast<char>(random >> 24);
    }
    // Make the checksums right again, so that the change gets past them.
    for (size_t at = 0; at + 512 <= bad.size() - 1024; at += 512) {
      if (std::memcmp(good.data() + at + 257, "ustar", 5) == 0) {
        std::memset(bad.data() + at + 148, ' ', 8);
        unsigned sum = 0;
        for (size_t i = 0; i < 512; ++i) {
          sum += static_cast<unsigned char>(bad[at + i]);
        }
        std::snprintf(bad.data() + at + 148, 8, "%06o", sum);
      }
    }
    NewRoot();
    recipe_.Reset(::memfd_create("recipe", MFD_CLOEXEC));
    const auto result = Unpack(bad);
    ASSERT_EQ(Outside(), "victim=untouched;") << "round " << round;
    if (result.ok()) {
      // Whatever was unpacked is made again, and is what is expected.
      std::string made;
      const base::OpContext no_limit = base::OpContext::Background();
      const absl::Status status =
          AssembleLayer(no_limit, root_.get(), recipe_.get(), [&](std::string_view piece) {
            made.append(piece);
            return absl::OkStatus();
          });
      ASSERT_TRUE(status.ok() && made == bad) << "round " << round << ": " << status;
      const auto problems = CheckLayer(no_limit, root_.get(), recipe_.get(), result->diff_id, 1);
      ASSERT_TRUE(problems.ok()) << "round " << round << ": " << problems.status();
      ASSERT_EQ(*problems, std::vector<std::string>()) << "round " << round;
      ++unpacked;
    }
    ASSERT_TRUE(base::RemoveTree(root_path_).ok());
  }
  EXPECT_GT(unpacked, 20);
}

// Each name is within the limits; what they lead to would be deeper than any walk reckons with.
TEST_F(LayerHostileTest, ROOT_SymlinksDoNotNestBeyondTheLimit) {
  const auto nested = [](const std::string& top, int levels) {
    std::string path = top;
    for (int i = 0; i < levels; ++i) {
      path += "/d";
    }
    return path;
  };
  TarBuilder tar;
  tar.Dir("a");
  std::string top = "a";
  for (int link = 0; link < 40; ++link) {
    const std::string deep = nested(top, 240);
    const std::string name = "s" + std::to_string(link);
    tar.Add({.name = deep, .type = '5', .pax = {{"path", deep}}});
    tar.Add({.name = name, .type = '2', .link = "x", .pax = {{"linkpath", deep}}});
    top = name;
  }
  tar.File("a", "in place of all that");
  const auto result = Unpack(tar.Finish());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << result.status();

  // One such symlink is allowed, and what it leads to can be replaced.
  NewRoot();
  TarBuilder once;
  const std::string deep = nested("a", 240), below = nested("s", 240);
  once.Add({.name = deep, .type = '5', .pax = {{"path", deep}}});
  once.Add({.name = "s", .type = '2', .link = "x", .pax = {{"linkpath", deep}}});
  once.Add({.name = below, .type = '5', .pax = {{"path", below}}});
  const auto replaced = Unpack(once.File("a", "a file").Finish());
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_EQ(Content("a"), "a file");
}

TEST_F(LayerHostileTest, ROOT_AFullDiskIsNamedAsSuch) {
  const std::string small = dir_ + "/root-tmpfs";
  ASSERT_TRUE(base::MakeDirs(small).ok());
  ASSERT_EQ(::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=1m"), 0);
  root_.Reset(::open(small.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::string content;
  for (int i = 0; i < 500'000; ++i) {
    content += std::to_string(i);
  }
  const auto result = Unpack(Gzip(TarBuilder().File("big", content).Finish()));
  root_.Reset();
  EXPECT_EQ(::umount(small.c_str()), 0);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kResourceExhausted) << result.status();
}

}  // namespace
}  // namespace berth::archive
