// Honest layers. Needs root.
#include "lib/archive/layer_extractor.h"

#include <sys/sysmacros.h>

#include <thread>

#include "lib/archive/testing/layer_test_dir.h"
#include "lib/archive/testing/tar_builder.h"
#include "lib/oci/sha256.h"

namespace berth::archive {
namespace {

using LayerExtractorTest = LayerTest;

TEST_F(LayerExtractorTest, ROOT_RestoresEveryKindWithItsAttributes) {
  const std::string capability(
      "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
  TarBuilder tar;
  tar.Add({.name = "./", .type = '5', .mode = 0711, .mtime = 1111});
  tar.Add({.name = "d/", .type = '5', .mode = 03775, .uid = 10, .gid = 20, .mtime = 2222});
  tar.Add({.name = "d/f", .content = "hello", .mode = 0640, .uid = 1, .gid = 2, .mtime = 3333});
  tar.Add({.name = "d/root", .content = "r", .mode = 0666});
  tar.Add({.name = "suid", .content = "s", .mode = 06755, .uid = 5, .gid = 6});
  tar.Add({.name = "cap",
           .content = "c",
           .uid = 7,
           .pax = {{"SCHILY.xattr.security.capability", capability}}});
  tar.Add({.name = "d/s", .type = '2', .link = "../nowhere", .uid = 8, .gid = 9, .mtime = 4444});
  tar.HardLink("h", "d/f");
  tar.HardLink("hs", "d/s");
  tar.Add({.name = "null", .type = '3', .mode = 0666, .uid = 1, .dev_major = 1, .dev_minor = 3});
  tar.Add({.name = "disk", .type = '4', .mode = 0660, .gid = 6, .dev_major = 8, .dev_minor = 300});
  tar.Add({.name = "fifo", .type = '6', .mode = 0622});
  tar.Add({.name = "ns", .content = "n", .pax = {{"mtime", "1600000000.123456789"}}});
  const auto result = Unpack(tar.Finish());
  ASSERT_TRUE(result.ok()) << result.status();

  EXPECT_EQ(Stat("").st_mode & 07777, 0711u);
  EXPECT_EQ(Stat("").st_mtime, 1111);
  EXPECT_EQ(Stat("d").st_mode & 07777, 03775u);
  EXPECT_EQ(Stat("d").st_uid, 10u);
  EXPECT_EQ(Stat("d").st_gid, 20u);
  EXPECT_EQ(Stat("d").st_mtime, 2222);
  EXPECT_EQ(Content("d/f"), "hello");
  EXPECT_EQ(Stat("d/f").st_mode & 07777, 0640u);
  EXPECT_EQ(Stat("d/f").st_uid, 1u);
  EXPECT_EQ(Stat("d/f").st_gid, 2u);
  EXPECT_EQ(Stat("d/f").st_mtime, 3333);
  EXPECT_EQ(Stat("d/root").st_mode & 07777, 0666u) << "the umask of the process";
  EXPECT_EQ(Stat("d/root").st_gid, 0u) << "the directory's setgid bit";
  EXPECT_EQ(Stat("suid").st_mode & 07777, 06755u);
  EXPECT_EQ(Stat("suid").st_uid, 5u);
  EXPECT_EQ(Xattr("cap", "security.capability"), capability);
  EXPECT_EQ(Stat("cap").st_uid, 7u);
  EXPECT_EQ(Link("d/s"), "../nowhere");
  EXPECT_EQ(Stat("d/s").st_uid, 8u);
  EXPECT_EQ(Stat("d/s").st_mtime, 4444);
  EXPECT_EQ(Stat("h").st_ino, Stat("d/f").st_ino);
  EXPECT_EQ(Stat("hs").st_ino, Stat("d/s").st_ino);
  EXPECT_TRUE(S_ISLNK(Stat("hs").st_mode));
  EXPECT_TRUE(S_ISCHR(Stat("null").st_mode));
  EXPECT_EQ(Stat("null").st_rdev, makedev(1, 3));
  EXPECT_EQ(Stat("null").st_mode & 07777, 0666u);
  EXPECT_EQ(Stat("null").st_uid, 1u);
  EXPECT_TRUE(S_ISBLK(Stat("disk").st_mode));
  EXPECT_EQ(Stat("disk").st_rdev, makedev(8, 300));
  EXPECT_TRUE(S_ISFIFO(Stat("fifo").st_mode));
  EXPECT_EQ(Stat("fifo").st_mode & 07777, 0622u);
  EXPECT_EQ(Stat("ns").st_mtim.tv_nsec, 123456789);
  EXPECT_EQ(result->inodes, 11u);
  EXPECT_EQ(result->bytes, 7u * 4096);  // the root, d, and five files with content
  EXPECT_TRUE(result->implicit_dirs.empty());
}

TEST_F(LayerExtractorTest, ROOT_DiffIdIsTheHashOfTheWholeStream) {
  const std::string tar =
      TarBuilder().File("f", "x").Finish() + std::string(20480, '\0') + "whatever follows the end";
  for (const std::string& bytes : {tar, Gzip(tar), Zstd(tar)}) {
    for (const size_t piece : {size_t{1}, size_t{1000}, bytes.size()}) {
      NewRoot();
      const auto result = Unpack(bytes, LayerLimits(), piece);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->diff_id, oci::DigestOf(tar));
      EXPECT_EQ(result->tar_bytes, tar.size());
      EXPECT_EQ(result->compressed_bytes, bytes.size());
      EXPECT_EQ(Content("f"), "x");
    }
  }
}

TEST_F(LayerExtractorTest, ROOT_EmptyLayers) {
  for (const std::string& bytes :
       {std::string(), std::string(1024, '\0'), Gzip(std::string(1024, '\0'))}) {
    NewRoot();
    const auto result = Unpack(bytes);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(base::ListDir(root_path_)->empty());
    EXPECT_EQ(result->implicit_dirs, std::vector<std::string>{""});
  }
}

TEST_F(LayerExtractorTest, ROOT_WhiteoutsBecomeOverlaysMarks) {
  const auto result = Unpack(TarBuilder()
                                 .Dir("etc")
                                 .File("etc/.wh.passwd", "")
                                 .File(".wh.gone", "")
                                 .Dir("opt")
                                 .File("opt/before", "b")
                                 .File("opt/.wh..wh..opq", "")
                                 .File("opt/after", "a")
                                 .File(".wh..wh.aufs", "")
                                 .File(".wh..wh.plnk/1.2", "")
                                 .Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(IsWhiteout("etc/passwd"));
  EXPECT_TRUE(IsWhiteout("gone"));
  EXPECT_EQ(Xattr("opt", "trusted.overlay.opaque"), "y");
  EXPECT_EQ(Xattr("etc", "trusted.overlay.opaque"), "<none>");
  EXPECT_EQ(Content("opt/before"), "b");
  EXPECT_EQ(Content("opt/after"), "a");
  EXPECT_EQ(*base::ListDir(root_path_), (std::vector<std::string>{"etc", "gone", "opt"}));
  EXPECT_EQ(*base::ListDir(At("opt")), (std::vector<std::string>{"after", "before"}));
}

TEST_F(LayerExtractorTest, ROOT_AWhiteoutDoesNotHideItsOwnLayer) {
  const auto result = Unpack(TarBuilder()
                                 .File("f", "here")
                                 .File(".wh.f", "")
                                 .Dir("d")
                                 .File("d/x", "x")
                                 .File(".wh.d", "")
                                 .File(".wh.e", "")
                                 .File("e/y", "y")
                                 .File(".wh.g", "")
                                 .Dir("g")
                                 .File(".wh.k", "")
                                 .File("k", "file")
                                 .Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Content("f"), "here");
  EXPECT_EQ(Content("d/x"), "x");
  EXPECT_EQ(Content("k"), "file");
  EXPECT_EQ(Content("e/y"), "y");
  for (const char* dir : {"d", "e", "g"}) {
    EXPECT_EQ(Xattr(dir, "trusted.overlay.opaque"), "y") << dir;
  }
  EXPECT_EQ(result->implicit_dirs, std::vector<std::string>{""});
}

TEST_F(LayerExtractorTest, ROOT_LaterEntriesReplaceEarlierOnes) {
  TarBuilder tar;
  tar.File("a", "one").File("a", "two");
  tar.Dir("b").File("b/x", "x").File("b", "now a file");
  tar.File("c", "file").Dir("c").File("c/y", "y");
  tar.Add({.name = "d/", .type = '5', .mode = 0700})
      .File("d/z", "z")
      .Add({.name = "d", .type = '5', .mode = 0555});
  tar.Symlink("e", "d").File("e", "no link any more");
  tar.File("f", "f").HardLink("g", "f").HardLink("f", "g");
  tar.Dir("h/i/j").File("h/i/j/k", "k").Symlink("h", "d").File("h/l", "through the link");
  const auto result = Unpack(tar.Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Content("a"), "two");
  EXPECT_EQ(Content("b"), "now a file");
  EXPECT_EQ(Content("c/y"), "y");
  EXPECT_EQ(Content("d/z"), "z");
  EXPECT_EQ(Stat("d").st_mode & 07777, 0555u);
  EXPECT_EQ(Content("e"), "no link any more");
  EXPECT_EQ(Content("f"), "f");
  EXPECT_EQ(Stat("f").st_ino, Stat("g").st_ino);
  EXPECT_EQ(Link("h"), "d");
  EXPECT_EQ(Content("d/l"), "through the link");
}

TEST_F(LayerExtractorTest, ROOT_ParentsThatAreSymlinksAreResolvedInsideTheRoot) {
  TarBuilder tar;
  tar.Dir("usr").Dir("usr/lib").Symlink("lib", "usr/lib").File("lib/x", "relative");
  tar.Symlink("abs", "/usr/lib").File("abs/y", "absolute");
  tar.Symlink("up", "../../../../usr").File("up/z", "dots");
  tar.Add({.name = "abs/sub/", .type = '5', .mode = 0750, .mtime = 777});
  const auto result = Unpack(tar.Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Content("usr/lib/x"), "relative");
  EXPECT_EQ(Content("usr/lib/y"), "absolute");
  EXPECT_EQ(Content("usr/z"), "dots");
  EXPECT_EQ(Stat("usr/lib/sub").st_mode & 07777, 0750u);
  EXPECT_EQ(Stat("usr/lib/sub").st_mtime, 777);
}

TEST_F(LayerExtractorTest, ROOT_DirectoriesNobodyDescribedAreReported) {
  const auto result = Unpack(TarBuilder().File("a/b/c", "c").File("d/e", "e").Dir("d").Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->implicit_dirs, (std::vector<std::string>{"", "a", "a/b"}));
  EXPECT_EQ(Stat("a/b").st_mode & 07777, 0755u);
}

TEST_F(LayerExtractorTest, ROOT_OnlySomeXattrsAreKept) {
  TarBuilder tar;
  for (const char* name : {"f", "d/"}) {
    tar.Add({.name = name,
             .type = name[0] == 'd' ? '5' : '0',
             .pax = {{"SCHILY.xattr.user.mine", "kept"},
                     {"SCHILY.xattr.user.overlay.opaque", "y"},
                     {"SCHILY.xattr.trusted.overlay.opaque", "y"},
                     {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
                     {"SCHILY.xattr.trusted.other", "t"},
                     {"SCHILY.xattr.security.selinux", "s"}}});
  }
  ASSERT_TRUE(Unpack(tar.Finish()).ok());
  for (const char* name : {"f", "d"}) {
    EXPECT_EQ(Xattr(name, "user.mine"), "kept");
    for (const char* dropped : {"user.overlay.opaque", "trusted.overlay.opaque",
                                "trusted.overlay.redirect", "trusted.other"}) {
      EXPECT_EQ(Xattr(name, dropped), "<none>") << dropped;
    }
  }
}

TEST_F(LayerExtractorTest, ROOT_SparseFilesStaySparse) {
  std::string content = "2\n0\n5\n100000000\n3\n";
  content.resize(512, '\0');
  TarBuilder tar;
  tar.Add({.name = "GNUSparseFile.1/f",
           .content = content + "helloend",
           .pax = {{"GNU.sparse.major", "1"},
                   {"GNU.sparse.minor", "0"},
                   {"GNU.sparse.name", "f"},
                   {"GNU.sparse.realsize", "200000000"}}});
  const auto result = Unpack(tar.Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Stat("f").st_size, 200000000);
  EXPECT_LT(Stat("f").st_blocks, 100);
  EXPECT_LT(result->bytes, 20000u);
}

TEST_F(LayerExtractorTest, ROOT_TheCallersUmaskStays) {
  const mode_t before = ::umask(027);
  ASSERT_TRUE(Unpack(TarBuilder().File("f", "x", 0666).Finish()).ok());
  EXPECT_EQ(Stat("f").st_mode & 07777, 0666u);
  EXPECT_EQ(::umask(before), 027u);
}

TEST_F(LayerExtractorTest, ROOT_AbortEndsAWaitingWriterAndFinish) {
  LayerOptions options;
  options.name = "sha256:test";
  auto extractor = LayerExtractor::Start(root_.get(), options);
  ASSERT_TRUE(extractor.ok());
  ASSERT_TRUE((*extractor)->Write(TarBuilder().File("f", "x").bytes()).ok());
  std::thread aborter([&] { (*extractor)->Abort(absl::CancelledError("nobody waits any more")); });
  aborter.join();
  EXPECT_EQ((*extractor)->Write("more").code(), absl::StatusCode::kCancelled);
  const auto result = (*extractor)->Finish();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_NE(std::string(result.status().message()).find("unpack layer 'sha256:test'"),
            std::string::npos);
}

TEST_F(LayerExtractorTest, ROOT_DestroyedInTheMiddleItStops) {
  auto extractor = LayerExtractor::Start(root_.get(), LayerOptions());
  ASSERT_TRUE(extractor.ok());
  ASSERT_TRUE((*extractor)->Write(TarBuilder().File("f", "x").bytes()).ok());
}

}  // namespace
}  // namespace berth::archive
