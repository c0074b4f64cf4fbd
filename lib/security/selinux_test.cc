#include "lib/security/selinux.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::security {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;

TEST(SelinuxLabels, PartsAreFilledFromThePodAndTheDefaults) {
  struct Case {
    model::SelinuxOptions options, pod;
    std::string process, mount;
  };
  for (const Case& c :
       std::vector<Case>{{{}, {}, "", ""},
                         {{},
                          {.level = "s0:c1,c2"},
                          "system_u:system_r:container_t:s0:c1,c2",
                          "system_u:object_r:container_file_t:s0:c1,c2"},
                         {{.type = "spc_t"},
                          {.type = "container_t", .level = "s0:c1,c2"},
                          "system_u:system_r:spc_t:s0:c1,c2",
                          "system_u:object_r:container_file_t:s0:c1,c2"},
                         {{.user = "u", .role = "r", .type = "t", .level = "s1-s2:c3.c5"},
                          {.level = "s0:c1,c2"},
                          "u:r:t:s1-s2:c3.c5",
                          "u:object_r:container_file_t:s1-s2:c3.c5"},
                         {{.type = "t"},
                          {},
                          "system_u:system_r:t:s0",
                          "system_u:object_r:container_file_t:s0"}}) {
    const auto labels = LabelsFor(c.options, c.pod);
    ASSERT_TRUE(labels.ok()) << labels.status();
    EXPECT_EQ(labels->process, c.process);
    EXPECT_EQ(labels->mount, c.mount);
  }
}

TEST(SelinuxLabels, WhatIsNoLabelIsRefused) {
  for (const model::SelinuxOptions& options :
       std::vector<model::SelinuxOptions>{{.user = "a:b"},
                                          {.role = "a b"},
                                          {.type = "a\","},
                                          {.level = "s0\",suid"},
                                          {.level = "s0\n"},
                                          {.type = std::string(300, 'a')}}) {
    EXPECT_EQ(LabelsFor(options, {}).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(LabelsFor({}, options).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(LabelsFor({.type = "a b"}, {}).status().message(), "SELinux type 'a b' is none");
}

TEST(SelinuxLabels, ContextOption) {
  EXPECT_EQ(ContextOption(""), "");
  EXPECT_EQ(ContextOption("u:r:t:s0:c1,c2"), "context=\"u:r:t:s0:c1,c2\"");
}

TEST(SelinuxLevels, EachPodHasItsOwn) {
  Selinux selinux;
  std::set<std::string> levels;
  for (int i = 0; i < 3000; ++i) {
    const auto level = selinux.TakeLevel();
    ASSERT_TRUE(level.ok());
    EXPECT_THAT(*level, MatchesRegex("s0:c[0-9]+,c[0-9]+"));
    EXPECT_TRUE(levels.insert(*level).second) << *level;
  }
}

class SelinuxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-selinux-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }
  void Write(const std::string& name, const std::string& text) {
    const std::string path = dir_ + "/" + name;
    ASSERT_TRUE(base::MakeDirs(path.substr(0, path.rfind('/'))).ok());
    ASSERT_TRUE(base::WriteFile(path, text, 0600).ok());
  }
  static std::string LabelOf(const std::string& path) {
    char value[256];
    const ssize_t length = ::lgetxattr(path.c_str(), "security.selinux", value, sizeof(value));
    return length < 0 ? "" : std::string(value, static_cast<size_t>(length));
  }
  base::OpContext ctx_ = base::OpContext::WithTimeout(absl::Seconds(30));
  std::string dir_;
};

TEST_F(SelinuxTest, InUseOnlyWithAPolicyAndWhereAskedFor) {
  EXPECT_FALSE(Selinux(false, dir_).in_use());
  EXPECT_THAT(Selinux(false, dir_).warning(), IsEmpty());
  EXPECT_FALSE(Selinux(true, dir_).in_use());
  EXPECT_THAT(Selinux(true, dir_).warning(), HasSubstr("runtime.selinux is set, but"));
  Write("sys/fs/selinux/policy", "");
  Write("proc/self/attr/current", std::string("kernel\0", 7));
  EXPECT_FALSE(Selinux(true, dir_).in_use()) << "no policy";
  Write("proc/self/attr/current", "system_u:system_r:container_runtime_t:s0");
  EXPECT_TRUE(Selinux(true, dir_).in_use());
  EXPECT_THAT(Selinux(true, dir_).warning(), IsEmpty());
  EXPECT_FALSE(Selinux(false, dir_).in_use());
  EXPECT_THAT(Selinux(false, dir_).warning(), HasSubstr("runtime.selinux is not set"));
}

TEST_F(SelinuxTest, LabelsAreCheckedByTheKernel) {
  EXPECT_EQ(Selinux(true, dir_).Check("u:r:t:s0").code(), absl::StatusCode::kNotFound);
  Write("sys/fs/selinux/context", "");
  EXPECT_TRUE(Selinux(true, dir_).Check("u:r:t:s0").ok());
  EXPECT_EQ(*base::ReadFile(dir_ + "/sys/fs/selinux/context", 64), std::string("u:r:t:s0\0", 9));
}

TEST_F(SelinuxTest, TheNodesOwnFoldersAreNotRelabelled) {
  for (const char* path : {"/", "/etc", "/usr", "/home", "/var/lib", "/etc/shadow", "/tmp"}) {
    const std::string before = LabelOf(path);
    const absl::Status status = Relabel(ctx_, path, "u:object_r:t:s0");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_THAT(std::string(status.message()), HasSubstr("the node's own"));
    EXPECT_EQ(LabelOf(path), before);
  }
}

TEST_F(SelinuxTest, ATreeIsRelabelled) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "labelling files needs root";
  }
  Write("outside", "");
  Write("volume/a/b/file", "");
  ASSERT_EQ(::symlink((dir_ + "/outside").c_str(), (dir_ + "/volume/link").c_str()), 0);
  ASSERT_EQ(::mkfifo((dir_ + "/volume/fifo").c_str(), 0600), 0);
  const std::string label = "system_u:object_r:container_file_t:s0:c1,c2";
  const absl::Status status = Relabel(ctx_, dir_ + "/volume", label);
  ASSERT_TRUE(status.ok()) << status;
  for (const char* name :
       {"volume", "volume/a", "volume/a/b", "volume/a/b/file", "volume/link", "volume/fifo"}) {
    EXPECT_EQ(LabelOf(dir_ + "/" + name), label + '\0') << name;
  }
  EXPECT_NE(LabelOf(dir_ + "/outside"), label + '\0') << "a symlink was followed";

  ASSERT_TRUE(Relabel(ctx_, dir_ + "/outside", "u:object_r:t:s0").ok());
  EXPECT_EQ(LabelOf(dir_ + "/outside"), std::string("u:object_r:t:s0\0", 16));
  EXPECT_EQ(Relabel(ctx_, dir_ + "/absent", label).code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(Relabel(ctx_, dir_ + "/volume/link", "u:object_r:t2:s0").ok());
  ASSERT_EQ(::symlink(dir_.c_str(), (dir_ + "/volume/up").c_str()), 0);
  EXPECT_FALSE(Relabel(ctx_, dir_ + "/volume/up/outside", "u:object_r:t2:s0").ok());
  EXPECT_EQ(LabelOf(dir_ + "/outside"), std::string("u:object_r:t:s0\0", 16));
}

TEST_F(SelinuxTest, AFileSystemWithoutLabelsIsLeftAlone) {
  EXPECT_TRUE(Relabel(ctx_, "/proc/cpuinfo", "u:object_r:t:s0").ok());
}

TEST_F(SelinuxTest, AnAbortedRequestEndsIt) {
  Write("volume/file", "");
  const auto past = base::OpContext::WithTimeout(absl::ZeroDuration());
  EXPECT_EQ(Relabel(past, dir_ + "/volume", "u:object_r:t:s0").code(),
            absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace berth::security
