// Layers made again from their recipes, and checked by them. Needs root.
#include "lib/archive/layer_recipe.h"

#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <functional>

#include "lib/archive/recipe_format.h"
#include "lib/archive/testing/layer_test_dir.h"
#include "lib/archive/testing/tar_builder.h"
#include "lib/oci/sha256.h"

namespace berth::archive {
namespace {

const base::OpContext kNoLimit = base::OpContext::Background();

class LayerRecipeTest : public LayerTest {
 protected:
  // Unpacks into a new root with a new recipe.
  void UnpackAnew(const std::string& tar) {
    NewRoot();
    recipe_.Reset(::memfd_create("recipe", MFD_CLOEXEC));
    ASSERT_TRUE(recipe_.valid());
    const auto result = Unpack(tar);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->diff_id, oci::DigestOf(tar));
    diff_id_ = result->diff_id;
  }
  absl::StatusOr<std::string> Assemble() {
    std::string made;
    const absl::Status status =
        AssembleLayer(kNoLimit, root_.get(), recipe_.get(), [&](std::string_view piece) {
          made.append(piece);
          return absl::OkStatus();
        });
    if (!status.ok()) {
      return status;
    }
    return made;
  }
  // All differences, one a line.
  std::string Check(size_t max_problems = 100) {
    const auto problems = CheckLayer(kNoLimit, root_.get(), recipe_.get(), diff_id_, max_problems);
    if (!problems.ok()) {
      return problems.status().ToString();
    }
    std::string all;
    for (const std::string& problem : *problems) {
      all += problem + "\n";
    }
    return all;
  }
  void IsMadeAgain(const std::string& tar) {
    UnpackAnew(tar);
    const auto made = Assemble();
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_TRUE(*made == tar) << made->size() << " bytes in place of " << tar.size();
    EXPECT_EQ(*RecipeTarBytes(recipe_.get()), tar.size());
    EXPECT_EQ(Check(), "");
  }
  uint64_t RecipeBytes() const {
    struct stat st;
    EXPECT_EQ(::fstat(recipe_.get(), &st), 0);
    return static_cast<uint64_t>(st.st_size);
  }

  oci::Digest diff_id_;
};

// Every kind of entry.
TarBuilder Everything() {
  const std::string capability(
      "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
  TarBuilder tar;
  tar.Add({.name = "./", .type = '5', .mode = 0711, .mtime = 1111});
  tar.Add({.name = "d/", .type = '5', .mode = 03775, .uid = 10, .gid = 20, .mtime = 2222});
  tar.Add({.name = "d/f", .content = "hello", .mode = 0640, .uid = 1, .gid = 2, .mtime = 3333});
  tar.File("d/empty", "").File("d/block", std::string(512, 'b'));
  tar.Add({.name = "suid", .content = "s", .mode = 06755, .uid = 5, .gid = 6});
  tar.Add({.name = "cap",
           .content = "c",
           .uid = 7,
           .pax = {{"SCHILY.xattr.security.capability", capability},
                   {"SCHILY.xattr.user.n", std::string("a\0b", 3)},
                   {"SCHILY.xattr.trusted.dropped", "t"}}});
  tar.Add({.name = "d/s", .type = '2', .link = "../nowhere", .uid = 8, .gid = 9, .mtime = 4444});
  tar.HardLink("h", "d/f").HardLink("hs", "d/s");
  tar.Add({.name = "null", .type = '3', .mode = 0666, .uid = 1, .dev_major = 1, .dev_minor = 3});
  tar.Add({.name = "disk", .type = '4', .mode = 04660, .gid = 6, .dev_major = 8, .dev_minor = 30});
  tar.Add({.name = "fifo", .type = '6', .mode = 0622});
  tar.Add({.name = "ns", .content = "n", .pax = {{"mtime", "1600000000.123456789"}}});
  tar.File("implicit/deep/f", "made without being described");
  tar.File(".wh.gone", "").File("d/.wh.x", "a whiteout with content");
  tar.Dir("opaque").File("opaque/.wh..wh..opq", "").File("opaque/f", "after");
  tar.File(".wh..wh.plnk/1.2", "of aufs");
  return tar;
}

TEST_F(LayerRecipeTest, ROOT_EveryKindIsMadeAgain) { IsMadeAgain(Everything().Finish()); }

TEST_F(LayerRecipeTest, ROOT_WhateverTheStreamEndsWith) {
  const TarBuilder tar = TarBuilder().File("f", "content");
  for (const std::string& bytes :
       {std::string(), std::string(1024, '\0'), std::string(10240, '\0'), tar.bytes(),
        tar.bytes() + std::string(512, '\0'), tar.Finish() + std::string(9000, '\0'),
        tar.Finish() + "words behind the end",
        TarBuilder().Dir("only").Symlink("s", "x").Finish()}) {
    IsMadeAgain(bytes);
  }
}

TEST_F(LayerRecipeTest, ROOT_PaddingThatIsNotZero) {
  std::string tar = TarBuilder().File("f", "content").File("g", "more").Finish();
  tar[512 + 7] = 'p';
  tar[1023] = 'q';
  IsMadeAgain(tar);
}

TEST_F(LayerRecipeTest, ROOT_LargeAndManyFiles) {
  TarBuilder tar;
  std::string large;
  for (int i = 0; i < 300'000; ++i) {
    large += std::to_string(i % 10'000 * 7919);
  }
  tar.File("large", large);
  for (int i = 0; i < 3000; ++i) {
    tar.File("dir" + std::to_string(i / 100) + "/file" + std::to_string(i),
             large.substr(static_cast<size_t>(i), static_cast<size_t>(i) % 1500));
  }
  IsMadeAgain(tar.Finish());
  EXPECT_LT(RecipeBytes(), 3000u * 40);
}

// What is gathered and what is given as it comes keep their order, whatever their sizes.
TEST_F(LayerRecipeTest, ROOT_PiecesOfEverySizeKeepTheirOrder) {
  for (const size_t kilobytes : {1, 100, 127, 128, 129, 200, 255, 256, 257, 600}) {
    IsMadeAgain(TarBuilder()
                    .Dir("d")
                    .File("d/f", std::string(kilobytes << 10, 'x'))
                    .File("d/g", "small")
                    .File("d/h", std::string(kilobytes << 10, 'y'))
                    .Finish());
  }
}

TEST_F(LayerRecipeTest, ROOT_SparseFiles) {
  TarBuilder tar;
  const std::map<std::string, std::string> pax = {{"GNU.sparse.major", "1"},
                                                  {"GNU.sparse.minor", "0"},
                                                  {"GNU.sparse.name", "f"},
                                                  {"GNU.sparse.realsize", "2000000"}};
  std::string map = "3\n0\n5\n1000000\n3\n2000000\n0\n";
  map.resize(512, '\0');
  tar.Add({.name = "GNUSparseFile.1/f", .content = map + "helloend", .pax = pax});
  tar.Add({.name = "g",
           .content = "x",
           .pax = {{"GNU.sparse.map", "5,1"}, {"GNU.sparse.size", "4096"}}});
  tar.Add({.name = "holes",
           .content = "",
           .pax = {{"GNU.sparse.map", "9000,0"}, {"GNU.sparse.size", "9000"}}});
  IsMadeAgain(tar.Finish());
  EXPECT_EQ(Stat("f").st_size, 2000000);
  EXPECT_EQ(Stat("holes").st_size, 9000);
  // In a hole the content's hash does not look.
  base::UniqueFd file(::open(At("f").c_str(), O_WRONLY));
  ASSERT_EQ(::pwrite(file.get(), "x", 1, 500000), 1);
  EXPECT_NE(Check().find("'f': it has data in a hole"), std::string::npos) << Check();
  file.Reset(::open(At("holes").c_str(), O_WRONLY));
  ASSERT_EQ(::pwrite(file.get(), "x", 1, 8999), 1);
  EXPECT_NE(Check().find("'holes': it has data in a hole"), std::string::npos) << Check();
}

TEST_F(LayerRecipeTest, ROOT_ReplacedFilesAreKept) {
  TarBuilder tar;
  tar.File("a", "one").HardLink("linked", "a").File("a", "two").File("a", "three!");
  tar.File("d/x", "below a directory").File("d/e/y", std::string(3000, 'y')).File("d", "a file");
  tar.File("b", "file").Dir("b").File("b/z", "z").File(".wh.b", "");
  tar.Dir("real").Symlink("s", "real").File("s/f", "by way of a symlink").File("s/f", "again");
  tar.Dir("s2").File("s/g", "stays").Symlink("s", "s2").File("s/g", "elsewhere");
  tar.Symlink("up", "../../real").File("up/h", "h").HardLink("up/i", "s/g").Symlink("up", "/s2");
  IsMadeAgain(tar.Finish());
  EXPECT_EQ(Content("a"), "three!");
  EXPECT_EQ(Content("real/f"), "again");
  EXPECT_EQ(Content("real/g"), "stays");
  EXPECT_EQ(Content("s2/g"), "elsewhere");
  EXPECT_EQ(Content("real/i"), "elsewhere");
}

TEST_F(LayerRecipeTest, ROOT_WhiteoutsOfTheLayersOwnNames) {
  TarBuilder tar;
  tar.File("f", "here").File(".wh.f", "").Dir("d").File("d/x", "x").File(".wh.d", "");
  tar.File(".wh.e", "").File("e/y", "y").File(".wh.g", "").Dir("g").File(".wh.k", "");
  tar.File("k", "file").File("i/j", "implicit").File(".wh.i", "");
  IsMadeAgain(tar.Finish());
}

TEST_F(LayerRecipeTest, ROOT_MoreReplacedFilesThanAreKeptMakeItLossy) {
  const std::string large(20 << 20, 'l');
  UnpackAnew(TarBuilder()
                 .File("a", large)
                 .File("b", large)
                 .File("a", "new")
                 .File("b", "new")
                 .File("c", "c")
                 .Finish());
  EXPECT_EQ(Assemble().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Check(), "");
  ASSERT_TRUE(base::WriteFile(At("c"), "d", 0644).ok());
  EXPECT_NE(Check().find("'c': its content has changed"), std::string::npos) << Check();
}

TEST_F(LayerRecipeTest, ROOT_DirectoriesByWayOfSymlinks) {
  TarBuilder tar;
  tar.Dir("usr").Dir("usr/lib").Symlink("lib", "usr/lib").File("lib/x", "relative");
  tar.Add({.name = "lib/sub/", .type = '5', .mode = 0750, .mtime = 777});
  tar.Add({.name = "usr/lib/sub/", .type = '5', .mode = 0700, .mtime = 778});
  tar.Dir("d").Dir("g").Dir("g/sub").Symlink("l", "d");
  tar.Add({.name = "l/sub/", .type = '5', .mode = 0700, .uid = 7}).Symlink("l", "g");
  IsMadeAgain(tar.Finish());
}

TEST_F(LayerRecipeTest, ROOT_ADamagedFileIsNamed) {
  const std::string tar = Everything().Finish();
  const std::map<std::string, std::function<void()>> damages = {
      {"other content", [&] { ASSERT_TRUE(base::WriteFile(At("d/f"), "hellO", 0640).ok()); }},
      {"shorter", [&] { ASSERT_EQ(::truncate(At("d/f").c_str(), 4), 0); }},
      {"longer", [&] { ASSERT_EQ(::truncate(At("d/f").c_str(), 6), 0); }},
      {"gone", [&] { ASSERT_EQ(::unlink(At("d/f").c_str()), 0); }},
      {"a fifo",
       [&] {
         ASSERT_EQ(::unlink(At("d/f").c_str()), 0);
         ASSERT_EQ(::mkfifo(At("d/f").c_str(), 0640), 0);
       }},
      {"a symlink", [&] {
         ASSERT_EQ(::unlink(At("d/f").c_str()), 0);
         ASSERT_EQ(::symlink("/etc/passwd", At("d/f").c_str()), 0);
       }}};
  for (const auto& [name, damage] : damages) {
    UnpackAnew(tar);
    damage();
    const auto made = Assemble();
    EXPECT_EQ(made.status().code(), absl::StatusCode::kDataLoss) << name << made.status();
    EXPECT_NE(made.status().ToString().find("'d/f'"), std::string::npos) << made.status();
    EXPECT_NE(Check().find("'d/f': "), std::string::npos) << name << ": " << Check();
  }
}

TEST_F(LayerRecipeTest, ROOT_EveryChangeIsFound) {
  const std::string tar = Everything().Finish();
  const struct timespec now[2] = {{1, 0}, {3333, 1}};
  const auto path = [&](const char* name) { return At(name); };
  const std::map<std::string, std::function<int()>> changes = {
      {"'suid': has the mode", [&] { return ::chmod(path("suid").c_str(), 0755); }},
      {"'d': has the mode", [&] { return ::chmod(path("d").c_str(), 0775); }},
      {"'/': has the mode", [&] { return ::chmod(path("").c_str(), 0755); }},
      {"'disk': has the mode", [&] { return ::chmod(path("disk").c_str(), 0660); }},
      {"'d/f': belongs to 1:3", [&] { return ::chown(path("d/f").c_str(), 1, 3); }},
      {"'d/s': belongs to 0:0", [&] { return ::lchown(path("d/s").c_str(), 0, 0); }},
      {"'d/f': was modified at 3333.000000001",
       [&] { return ::utimensat(AT_FDCWD, path("d/f").c_str(), now, 0); }},
      {"'new': is not part of the layer", [&] { return ::mkdir(path("new").c_str(), 0755); }},
      {"'fifo': is missing", [&] { return ::unlink(path("fifo").c_str()); }},
      {"'implicit/deep': is missing",
       [&] {
         return ::unlink(path("implicit/deep/f").c_str()) + ::rmdir(path("implicit/deep").c_str());
       }},
      {"'gone': is missing", [&] { return ::unlink(path("gone").c_str()); }},
      {"'d/x': is missing", [&] { return ::unlink(path("d/x").c_str()); }},
      {"'d/s': points to 'x'",
       [&] { return ::unlink(path("d/s").c_str()) + ::symlink("x", path("d/s").c_str()); }},
      {"'null': is the device 1:5",
       [&] {
         return ::unlink(path("null").c_str()) +
                ::mknod(path("null").c_str(), S_IFCHR | 0666, makedev(1, 5));
       }},
      {"'fifo': is a directory in place of a fifo",
       [&] { return ::unlink(path("fifo").c_str()) + ::mkdir(path("fifo").c_str(), 0755); }},
      {"'h': is no longer a hard link",
       [&] {
         return ::unlink(path("h").c_str()) + ::link(path("suid").c_str(), path("h").c_str());
       }},
      {"'suid': has 2 names",
       [&] { return ::link(path("suid").c_str(), (dir_ + "/outside/suid").c_str()); }},
      {"'cap': the attribute 'security.capability' is missing",
       [&] { return ::removexattr(path("cap").c_str(), "security.capability"); }},
      {"'cap': the attribute 'user.n' has changed",
       [&] { return ::setxattr(path("cap").c_str(), "user.n", "a", 1, 0); }},
      {"'suid': the attribute 'user.new' is not part",
       [&] { return ::setxattr(path("suid").c_str(), "user.new", "a", 1, 0); }},
      {"'opaque': is not marked opaque",
       [&] { return ::removexattr(path("opaque").c_str(), "trusted.overlay.opaque"); }},
      {"'d': is marked opaque",
       [&] { return ::setxattr(path("d").c_str(), "trusted.overlay.opaque", "y", 1, 0); }},
      {"'d/f': the attribute 'trusted.overlay.redirect' is not part",
       [&] { return ::setxattr(path("d/f").c_str(), "trusted.overlay.redirect", "/", 1, 0); }},
  };
  for (const auto& [expected, change] : changes) {
    UnpackAnew(tar);
    ASSERT_EQ(change(), 0) << expected << ": " << std::strerror(errno);
    const std::string found = Check();
    EXPECT_NE(found.find(expected), std::string::npos) << expected << " not in: " << found;
    ::unlink((dir_ + "/outside/suid").c_str());
    EXPECT_LE(std::count(found.begin(), found.end(), '\n'), 6) << found;
  }
}

TEST_F(LayerRecipeTest, ROOT_WhatIsNotTheLayersIsNoDifference) {
  UnpackAnew(Everything().Finish());
  // Directories that no entry describes get the attributes of a lower layer's.
  ASSERT_EQ(::chmod(At("implicit").c_str(), 01777), 0);
  ASSERT_EQ(::chown(At("implicit/deep").c_str(), 5, 5), 0);
  // A label of the machine, and what somebody else's programs note.
  (void)::setxattr(At("suid").c_str(), "security.selinux", "x", 1, 0);
  ASSERT_EQ(::setxattr(At("suid").c_str(), "trusted.somebody", "x", 1, 0), 0);
  EXPECT_EQ(Check(), "");
}

TEST_F(LayerRecipeTest, ROOT_OnlySoManyProblems) {
  TarBuilder tar;
  for (int i = 0; i < 50; ++i) {
    tar.File("f" + std::to_string(i), "x");
  }
  UnpackAnew(tar.Finish());
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(::unlink(At("f" + std::to_string(i)).c_str()), 0);
  }
  const std::string found = Check(7);
  EXPECT_EQ(std::count(found.begin(), found.end(), '\n'), 7) << found;
}

TEST_F(LayerRecipeTest, ROOT_AnotherLayersRecipeIsAnError) {
  UnpackAnew(TarBuilder().File("f", "x").Finish());
  diff_id_ = oci::DigestOf("something else");
  EXPECT_EQ(CheckLayer(kNoLimit, root_.get(), recipe_.get(), diff_id_, 10).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(LayerRecipeTest, ROOT_UnfinishedAndDamagedRecipes) {
  const std::string tar = Everything().Finish();
  recipe_.Reset(::memfd_create("recipe", MFD_CLOEXEC));
  NewRoot();
  ASSERT_FALSE(Unpack(tar.substr(0, 3000)).ok());
  EXPECT_EQ(Assemble().status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(RecipeTarBytes(recipe_.get()).status().code(), absl::StatusCode::kDataLoss);
  UnpackAnew(tar);
  const std::string recipe = *base::ReadFd(recipe_.get(), 1 << 20);
  ASSERT_EQ(recipe.size(), RecipeBytes());
  for (size_t size = 0; size < recipe.size(); ++size) {
    recipe_.Reset(::memfd_create("recipe", MFD_CLOEXEC));
    ASSERT_TRUE(base::WriteFd(recipe_.get(), recipe.substr(0, size)).ok());
    ASSERT_EQ(Assemble().status().code(), absl::StatusCode::kDataLoss) << size;
  }
  for (size_t at = 0; at < recipe.size(); ++at) {
    std::string bad = recipe;
    bad[at] = static_cast<char>(bad[at] ^ 0x41);
    recipe_.Reset(::memfd_create("recipe", MFD_CLOEXEC));
    ASSERT_TRUE(base::WriteFd(recipe_.get(), bad).ok());
    const auto made = Assemble();
    ASSERT_TRUE(!made.ok() || *made == tar) << at;
    ASSERT_TRUE(made.ok() || absl::IsDataLoss(made.status())) << at << made.status();
  }
}

TEST_F(LayerRecipeTest, ROOT_TheContextAndTheSinkEndIt) {
  UnpackAnew(Everything().Finish());
  const base::OpContext cancelled(absl::InfiniteFuture(), [] { return true; });
  EXPECT_EQ(AssembleLayer(cancelled, root_.get(), recipe_.get(),
                          [](std::string_view) { return absl::OkStatus(); })
                .code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(CheckLayer(cancelled, root_.get(), recipe_.get(), diff_id_, 1).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(AssembleLayer(kNoLimit, root_.get(), recipe_.get(),
                          [](std::string_view) { return absl::AbortedError("enough"); })
                .code(),
            absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace berth::archive
