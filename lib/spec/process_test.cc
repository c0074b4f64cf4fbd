#include "lib/spec/process.h"

#include <sys/resource.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "lib/spec/text.h"

namespace berth::spec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

TEST(AssembleArgs, Table) {
  struct Case {
    Strings command, args, entrypoint, cmd, want;
  };
  const std::vector<Case> cases = {
      {{}, {}, {"/e", "1"}, {"c"}, {"/e", "1", "c"}},
      {{}, {}, {}, {"sh", "-c"}, {"sh", "-c"}},
      {{}, {}, {"/e"}, {}, {"/e"}},
      {{}, {"a"}, {"/e"}, {"c"}, {"/e", "a"}},
      {{}, {"a"}, {}, {"c"}, {"a"}},
      {{"x"}, {}, {"/e"}, {"c"}, {"x"}},
      {{"x"}, {"a", ""}, {"/e"}, {"c"}, {"x", "a", ""}},
  };
  for (const Case& c : cases) {
    model::ContainerSpec container;
    container.command = c.command;
    container.args = c.args;
    oci::ImageConfig image;
    image.entrypoint = c.entrypoint;
    image.cmd = c.cmd;
    const auto args = AssembleArgs(container, image);
    ASSERT_TRUE(args.ok()) << args.status();
    EXPECT_EQ(*args, c.want);
  }
}

TEST(AssembleArgs, Refusals) {
  const auto refusal = [](Strings command) {
    model::ContainerSpec container;
    container.command = std::move(command);
    const auto args = AssembleArgs(container, oci::ImageConfig());
    EXPECT_EQ(args.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(args.status().message());
  };
  EXPECT_EQ(refusal({}), "no command specified");
  EXPECT_EQ(refusal({""}), "no command specified");
  EXPECT_THAT(refusal({"a", std::string("b\0c", 3)}), HasSubstr("argument 1 of the command"));
  EXPECT_THAT(refusal({"a", "\xff"}), HasSubstr("not UTF-8"));
  EXPECT_THAT(refusal({std::string(kMaxStringBytes + 1, 'a')}), HasSubstr("longer than"));
  EXPECT_THAT(refusal(Strings(20, std::string(kMaxStringBytes, 'a'))), HasSubstr("larger than"));
}

constexpr char kPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

TEST(AssembleEnv, OrderAndPrecedence) {
  model::ContainerSpec container;
  oci::ImageConfig image;
  EXPECT_THAT(*AssembleEnv(container, image, {}, "", ""), ElementsAre(kPath, "TERM=xterm"));

  image.env = {"PATH=/image", "A=image", "B=image", "nothing", "=x", "HOME=/image"};
  container.envs = {{"A", "request"}, {"TERM", "vt100"}, {"A", "again"}, {"EMPTY", ""}};
  EXPECT_THAT(*AssembleEnv(container, image, {"A=default", "D=a=b", "bad"}, "pod", "/root"),
              ElementsAre("PATH=/image", "TERM=vt100", "HOSTNAME=pod", "A=again", "D=a=b",
                          "EMPTY=", "B=image", "HOME=/image"));
  image.env = {};
  container.envs = {};
  EXPECT_THAT(*AssembleEnv(container, image, {}, "pod", "/root"),
              ElementsAre(kPath, "TERM=xterm", "HOSTNAME=pod", "HOME=/root"));
}

TEST(AssembleEnv, Refusals) {
  const auto refusal = [](std::string key, std::string value) {
    model::ContainerSpec container;
    container.envs = {{std::move(key), std::move(value)}};
    const auto env = AssembleEnv(container, oci::ImageConfig(), {}, "", "");
    EXPECT_EQ(env.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(env.status().message());
  };
  EXPECT_THAT(refusal("", "x"), HasSubstr("no name"));
  EXPECT_THAT(refusal("A=B", "x"), HasSubstr("holds '='"));
  EXPECT_THAT(refusal("\xc3", "x"), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal("KEY", "\xc3\x28"), HasSubstr("'KEY' is not UTF-8"));
  EXPECT_THAT(refusal("KEY", std::string("a\0", 2)), HasSubstr("NUL"));
  EXPECT_THAT(refusal("HOME", "/root\nx:0:0"), HasSubstr("'HOME' holds a line break"));
  EXPECT_THAT(refusal("HOME", "/root\r"), HasSubstr("'HOME' holds a line break"));
  // The two characters, not a line break.
  model::ContainerSpec container;
  container.envs = {{"HOME", "/a\\nb"}, {"OTHER", "a\nb"}};
  EXPECT_TRUE(AssembleEnv(container, oci::ImageConfig(), {}, "", "").ok());

  oci::ImageConfig image;
  image.env = {"HOME=/a\nb"};
  EXPECT_THAT(
      std::string(AssembleEnv(model::ContainerSpec(), image, {}, "", "").status().message()),
      HasSubstr("'HOME' holds a line break"));
}

TEST(AssembleCwd, Table) {
  model::ContainerSpec container;
  oci::ImageConfig image;
  EXPECT_EQ(*AssembleCwd(container, image), "/");
  image.working_dir = "/image/./x/../y//";
  EXPECT_EQ(*AssembleCwd(container, image), "/image/y");
  container.working_dir = "/../../proc/self/fd/7";
  EXPECT_EQ(*AssembleCwd(container, image), "/proc/self/fd/7");
  container.working_dir = "relative";
  EXPECT_EQ(AssembleCwd(container, image).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(IsSystemd, Table) {
  EXPECT_TRUE(IsSystemd({"/sbin/init"}));
  EXPECT_TRUE(IsSystemd({"/usr/lib/systemd/systemd", "--user"}));
  EXPECT_TRUE(IsSystemd({"systemd"}));
  EXPECT_FALSE(IsSystemd({"/usr/sbin/init"}));
  EXPECT_FALSE(IsSystemd({"/bin/sh", "systemd"}));
  EXPECT_FALSE(IsSystemd({}));
}

TEST(ParseUlimit, Table) {
  const auto one = ParseUlimit("nofile=1024:4096");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->type, "RLIMIT_NOFILE");
  EXPECT_EQ(one->soft, 1024u);
  EXPECT_EQ(one->hard, 4096u);
  EXPECT_EQ(ParseUlimit("RLIMIT_CORE=-1")->type, "RLIMIT_CORE");
  EXPECT_EQ(ParseUlimit("memlock=5:unlimited")->hard, RLIM_INFINITY);
  EXPECT_EQ(ParseUlimit("nproc=7")->hard, 7u);
  for (const char* bad : {"", "nofile", "nofile=", "nofile=1:", "nofile=a:2", "nofile=1:2:3",
                          "files=1:2", "nofile=2:1", "nofile=-2", "nofile=1 :2"}) {
    EXPECT_EQ(ParseUlimit(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(BuildProcessJson, KeepsAllButArgumentsAndTerminal) {
  const std::string text =
      R"({"args":["sleep"],"cwd":"/w","env":["A=1"],"noNewPrivileges":true,
          "terminal":true,"user":{"gid":2,"uid":1}})";
  const auto exec = BuildProcessJson(text, {"ls", "-l"}, false);
  ASSERT_TRUE(exec.ok()) << exec.status();
  EXPECT_EQ(nlohmann::json::parse(*exec), nlohmann::json::parse(R"(
      {"args":["ls","-l"],"cwd":"/w","env":["A=1"],"noNewPrivileges":true,
       "terminal":false,"user":{"gid":2,"uid":1}})"));
  EXPECT_EQ(nlohmann::json::parse(*BuildProcessJson(text, {"sh"}, true))["terminal"], true);
  EXPECT_EQ(BuildProcessJson(text, {}, false).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(BuildProcessJson("{", {"a"}, false).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(BuildProcessJson("[]", {"a"}, false).status().code(), absl::StatusCode::kDataLoss);
}

TEST(Text, Paths) {
  EXPECT_EQ(*CleanAbsolutePath("/", "p"), "/");
  EXPECT_EQ(*CleanAbsolutePath("//a/./b//c/..", "p"), "/a/b");
  EXPECT_EQ(*CleanAbsolutePath("/..", "p"), "/");
  EXPECT_FALSE(CleanAbsolutePath("", "p").ok());
  EXPECT_FALSE(CleanAbsolutePath("a", "p").ok());
  EXPECT_TRUE(IsBelowOrSame("/a/b", "/a"));
  EXPECT_TRUE(IsBelowOrSame("/a", "/a"));
  EXPECT_TRUE(IsBelowOrSame("/a", "/"));
  EXPECT_FALSE(IsBelowOrSame("/ab", "/a"));
  EXPECT_FALSE(IsBelowOrSame("/", "/a"));
}

}  // namespace
}  // namespace berth::spec
