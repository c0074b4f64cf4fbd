// Status, files, beneath, rollback, ids.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>

#include "gtest/gtest.h"

#include "lib/base/beneath.h"
#include "lib/base/boot_id.h"
#include "lib/base/file.h"
#include "lib/base/id.h"
#include "lib/base/op_context.h"
#include "lib/base/remove_tree.h"
#include "lib/base/rollback.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace berth::base {
namespace {

class TempDir : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-base-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(dir_).ok()); }
  std::string dir_;
};

TEST(StatusTest, AnnotateKeepsCodeAndReason) {
  const absl::Status status =
      Annotate(WithReason(absl::UnavailableError("refused"), "RegistryUnavailable"), "pull 'x'");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "pull 'x': refused");
  EXPECT_EQ(GetReason(status), "RegistryUnavailable");
}

TEST(StatusTest, ErrnoNamesTextAndNumber) {
  EXPECT_EQ(ErrnoStatus(EINVAL, "mount").message(), "mount: Invalid argument (22)");
  EXPECT_EQ(ErrnoStatus(ENOSPC, "write").code(), absl::StatusCode::kResourceExhausted);
}

TEST(IdTest, FullIds) {
  const std::string id = GenerateId();
  EXPECT_TRUE(IsFullId(id));
  EXPECT_NE(id, GenerateId());
  EXPECT_FALSE(IsFullId(id.substr(1)));
  EXPECT_FALSE(IsFullId("A" + id.substr(1)));
}

TEST(RollbackTest, RunsInReverseAndGoesOnAfterAFailure) {
  std::string order;
  {
    Rollback undo("test");
    undo.Push("a", [&] {
      order += 'a';
      return absl::OkStatus();
    });
    undo.Push("b", [&] {
      order += 'b';
      return absl::InternalError("broken");
    });
    undo.Push("c", [&] {
      order += 'c';
      return absl::OkStatus();
    });
  }
  EXPECT_EQ(order, "cba");
  {
    Rollback undo("test");
    undo.Push("a", [&] {
      order += 'x';
      return absl::OkStatus();
    });
    undo.Commit();
  }
  EXPECT_EQ(order, "cba");
}

TEST_F(TempDir, WriteReadAtomicAndLimits) {
  const std::string path = dir_ + "/f";
  ASSERT_TRUE(WriteFileAtomic(path, "hello", 0600).ok());
  EXPECT_EQ(*ReadFile(path, 5), "hello");
  EXPECT_TRUE(absl::IsOutOfRange(ReadFile(path, 4).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadFile(dir_ + "/none", 5).status()));
  EXPECT_EQ(ListDir(dir_)->size(), 1u);
}

TEST_F(TempDir, RemoveTreeEndsWithItsContext) {
  ASSERT_TRUE(MakeDirs(dir_ + "/some/x/y").ok());
  int looks = 0;
  const OpContext ctx(absl::InfiniteFuture(), [&] { return ++looks > 1; });
  EXPECT_TRUE(absl::IsCancelled(RemoveTree(ctx, dir_ + "/some")));
  EXPECT_TRUE(PathExists(dir_ + "/some"));
}

TEST(IdTest, TheBootHasOne) {
  const auto id = BootId();
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->size(), 36u) << "without the line's end";
  EXPECT_EQ(*BootId(), *id);
}

// As a container can leave it: deeper than a stack, or than there are descriptors.
TEST(RemoveTreeTest, OfAnyDepth) {
  char top[] = "/dev/shm/berth-deep-XXXXXX";  // where making it takes no time
  ASSERT_NE(::mkdtemp(top), nullptr);
  UniqueFd fd(::open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int depth = 0; depth < 50'000; ++depth) {
    ASSERT_EQ(::mkdirat(fd.get(), "d", 0700), 0);
    fd.Reset(::openat(fd.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(fd.valid());
  }
  const UniqueFd file(::openat(fd.get(), "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  ASSERT_TRUE(file.valid());
  const absl::Status removed = RemoveTree(top);
  EXPECT_TRUE(removed.ok()) << removed;
  EXPECT_FALSE(PathExists(top));
}

TEST_F(TempDir, RemoveTreeDoesNotFollowSymlinks) {
  ASSERT_TRUE(MakeDirs(dir_ + "/keep/x").ok());
  ASSERT_TRUE(MakeDirs(dir_ + "/gone/y").ok());
  ASSERT_EQ(::symlink("../../keep", (dir_ + "/gone/y/link").c_str()), 0);
  ASSERT_TRUE(RemoveTree(dir_ + "/gone").ok());
  EXPECT_FALSE(PathExists(dir_ + "/gone"));
  EXPECT_TRUE(PathExists(dir_ + "/keep/x"));
  EXPECT_TRUE(RemoveTree(dir_ + "/gone").ok());
}

TEST_F(TempDir, NothingLeadsOutOfTheRoot) {
  ASSERT_TRUE(MakeDirs(dir_ + "/root/etc").ok());
  ASSERT_TRUE(WriteFile(dir_ + "/secret", "host", 0600).ok());
  ASSERT_TRUE(WriteFile(dir_ + "/root/etc/inside", "guest", 0600).ok());
  ASSERT_EQ(::symlink("../../../secret", (dir_ + "/root/etc/up").c_str()), 0);
  ASSERT_EQ(::symlink("/etc/inside", (dir_ + "/root/absolute").c_str()), 0);
  auto root = OpenFile(dir_ + "/root", O_PATH | O_DIRECTORY);
  ASSERT_TRUE(root.ok());
  EXPECT_EQ(*ReadFileInRoot(root->get(), "/absolute", 100), "guest");
  EXPECT_TRUE(absl::IsNotFound(ReadFileInRoot(root->get(), "etc/up", 100).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadFileInRoot(root->get(), "../secret", 100).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(OpenBeneath(root->get(), "../secret", O_RDONLY).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(OpenBeneath(root->get(), "etc/up", O_RDONLY).status()));
}

TEST_F(TempDir, MakeDirsInRootResolvesLinksInside) {
  ASSERT_TRUE(MakeDirs(dir_ + "/root/real").ok());
  ASSERT_EQ(::symlink("/real", (dir_ + "/root/link").c_str()), 0);
  ASSERT_EQ(::symlink("/nowhere/../../..", (dir_ + "/root/bad").c_str()), 0);
  auto root = OpenFile(dir_ + "/root", O_PATH | O_DIRECTORY);
  ASSERT_TRUE(MakeDirsInRoot(root->get(), "/link/a/b", 0755).ok());
  EXPECT_TRUE(PathExists(dir_ + "/root/real/a/b"));
  EXPECT_FALSE(MakeDirsInRoot(root->get(), "/bad/a", 0755).ok());
}

TEST_F(TempDir, FifoIsRefusedNotWaitedFor) {
  ASSERT_EQ(::mkfifo((dir_ + "/fifo").c_str(), 0600), 0);
  auto root = OpenFile(dir_, O_PATH | O_DIRECTORY);
  EXPECT_TRUE(absl::IsInvalidArgument(ReadFileInRoot(root->get(), "fifo", 100).status()));
}

TEST(Utf8Test, FindsWhatIsNone) {
  constexpr size_t kNone = std::string_view::npos;
  const std::pair<const char*, size_t> cases[] = {
      {"", kNone},
      {"a", kNone},
      {"\x7f", kNone},
      {"\xc2\x80", kNone},
      {"\xe2\x82\xac", kNone},
      {"\xf0\x9f\x98\x80", kNone},
      {"\xed\x9f\xbf", kNone},
      {"\xf4\x8f\xbf\xbf", kNone},
      {"\x80", 0},
      {"\xc3", 0},
      {"\xc0\xaf", 0},          // overlong
      {"\xe0\x80\xaf", 0},      // overlong
      {"\xed\xa0\x80", 0},      // a surrogate
      {"\xf4\x90\x80\x80", 0},  // beyond U+10FFFF
      {"\xf8\x88\x80\x80\x80", 0},
      {"a\xff", 1},
      {"\xe2\x82\xac\xe2\x82", 3},  // cut short
      {"\xe2\x82z", 0},
  };
  for (const auto& [text, place] : cases) {
    EXPECT_EQ(FindNotUtf8(text), place) << testing::PrintToString(text);
    EXPECT_EQ(IsUtf8(text), place == kNone);
  }
}

}  // namespace
}  // namespace berth::base
