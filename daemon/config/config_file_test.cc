// Files, drop-ins and flags: LoadConfig; and conf/berthd.toml, which is documentation that must not
// drift.
#include <stdlib.h>

#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "daemon/config/config.h"
#include "lib/base/file.h"

namespace berth::config {
namespace {

using testing::HasSubstr;

class LoadConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "/berth-config-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    dir_ = path;
    ASSERT_TRUE(base::MakeDirs(dir_ + "/conf.d").ok());
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(dir_ + "/" + name, text, 0644).ok());
  }
  ConfigSources Sources() const { return {dir_ + "/berthd.toml", false, dir_ + "/conf.d", false}; }

  std::string dir_;
};

TEST_F(LoadConfigTest, DefaultsWhenThereIsNothing) {
  ASSERT_TRUE(base::RemoveTree(dir_ + "/conf.d").ok());
  const absl::StatusOr<Config> config = LoadConfig(Sources(), {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config, Config());
}

TEST_F(LoadConfigTest, FlagsWinOverDropInsInOrderOverTheFile) {
  Write("berthd.toml",
        "root = '/file'\nstate = '/file-state'\n[log]\nlevel = 'warn'\nformat = 'json'\n");
  Write("conf.d/20-b.toml", "[log]\nlevel = 'error'\n");
  Write("conf.d/10-a.toml", "state = '/a'\n[log]\nlevel = 'debug'\n");
  Write("conf.d/30-c.toml.bak", "nonsense");
  Write("conf.d/.hidden.toml", "nonsense");
  absl::StatusOr<Config> config = LoadConfig(Sources(), {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->root, "/file");
  EXPECT_EQ(config->state, "/a");
  EXPECT_EQ(config->log.level, "error");
  EXPECT_EQ(config->log.format, "json");

  ConfigOverrides flags;
  flags.root = "/flag/";
  flags.state = "/flag-state";
  flags.listen = "unix:///flag.sock";
  flags.log_level = "trace";
  config = LoadConfig(Sources(), flags);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->root, "/flag");
  EXPECT_EQ(config->state, "/flag-state");
  EXPECT_EQ(config->api.SocketPath(), "/flag.sock");
  EXPECT_EQ(config->log.level, "trace");
}

TEST_F(LoadConfigTest, NamesTheDropInWithTheError) {
  Write("conf.d/10-a.toml", "\n[log]\nlevle = 'debug'\n");
  const absl::Status status = LoadConfig(Sources(), {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(status.message()),
      HasSubstr("load configuration: " + dir_ + "/conf.d/10-a.toml:3: unknown key 'log.levle'"));
}

TEST_F(LoadConfigTest, WhatWasNamedMustExist) {
  const absl::Status file =
      LoadConfig(SourcesFromFlags(dir_ + "/none.toml", std::nullopt), {}).status();
  EXPECT_EQ(file.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(file.message()), HasSubstr("none.toml"));
  Write("berthd.toml", "");
  const absl::Status dir =
      LoadConfig(SourcesFromFlags(dir_ + "/berthd.toml", dir_ + "/none.d"), {}).status();
  EXPECT_EQ(dir.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(dir.message()), HasSubstr("none.d"));
}

TEST_F(LoadConfigTest, AFileOfItsOwnLeavesOutTheNodesDropIns) {
  EXPECT_EQ(SourcesFromFlags(std::nullopt, std::nullopt).file, "/etc/berth/berthd.toml");
  EXPECT_EQ(SourcesFromFlags(std::nullopt, std::nullopt).dir, "/etc/berth/conf.d");
  EXPECT_EQ(SourcesFromFlags("/f", std::nullopt).dir, "");
  EXPECT_EQ(SourcesFromFlags("/f", "/d").dir, "/d");
  EXPECT_EQ(SourcesFromFlags(std::nullopt, "/d").file, "/etc/berth/berthd.toml");
}

TEST_F(LoadConfigTest, RefusesWhatCannotBeRead) {
  Write("berthd.toml", std::string(kMaxConfigBytes + 1, '\n'));
  EXPECT_EQ(LoadConfig(Sources(), {}).status().code(), absl::StatusCode::kOutOfRange);
  ASSERT_TRUE(base::RemoveFile(dir_ + "/berthd.toml").ok());
  ASSERT_TRUE(base::MakeDirs(dir_ + "/conf.d/10-dir.toml").ok());
  EXPECT_FALSE(LoadConfig(Sources(), {}).ok());
}

TEST_F(LoadConfigTest, ChecksFlagsAndWhatDependsOnEachOther) {
  const auto error = [&](const std::string& text, const ConfigOverrides& flags) {
    Write("berthd.toml", text);
    const absl::Status status = LoadConfig(Sources(), flags).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(status.message());
  };
  EXPECT_THAT(error("", {.root = "relative"}), HasSubstr("flag --root: expected an absolute path"));
  EXPECT_THAT(error("", {.state = "/"}), HasSubstr("flag --state: expected"));
  EXPECT_THAT(error("", {.listen = "/x"}), HasSubstr("flag --listen: expected unix:///PATH"));
  EXPECT_THAT(error("", {.log_level = "loud"}), HasSubstr("flag --log-level: expected"));
  EXPECT_THAT(error("root = '/run/berth'", {}), HasSubstr("root '/run/berth' must not be"));
  EXPECT_THAT(error("root = '/run/berth/root'", {}), HasSubstr("beneath state '/run/berth'"));
  EXPECT_THAT(error("[runtime]\nlog_size_max = 0", {}), HasSubstr("expected -1 (no limit)"));
  EXPECT_THAT(error("[runtime]\nlog_size_max = 16383", {}), HasSubstr("found 16383"));
  EXPECT_THAT(error("[stream]\ntls_cert = '/c'", {}), HasSubstr("must be set together"));
  EXPECT_THAT(error("[stream]\ntls_ca = '/c'", {}), HasSubstr("stream.tls_ca needs"));
  Write("berthd.toml", "root = '/run/berth2'");
  EXPECT_TRUE(LoadConfig(Sources(), {}).ok());
}

// Lines of TOML without blank ones and comments.
std::string Essence(const std::string& text) {
  std::istringstream in(text);
  std::string out;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line[0] != '#') {
      out += line + "\n";
    }
  }
  return out;
}

TEST(ConfFile, IsTheDefaultsWithEveryKey) {
  const absl::StatusOr<std::string> text =
      base::ReadFile(BERTH_CONF_DIR "/berthd.toml", kMaxConfigBytes);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(Essence(*text), Essence(ToToml(Config())));
  Config config;
  config.root = "/something/else";
  ASSERT_TRUE(ReadToml(*text, "berthd.toml", config).ok());
  EXPECT_EQ(config, Config());
}

TEST(ConfFile, ShowsEveryKeyOfAHandlerInComments) {
  const absl::StatusOr<std::string> text =
      base::ReadFile(BERTH_CONF_DIR "/berthd.toml", kMaxConfigBytes);
  ASSERT_TRUE(text.ok()) << text.status();
  Config config;
  config.runtimes["NAME"] = {};
  const std::string all = ToToml(config);
  const size_t start = all.find("[runtimes.NAME]");
  std::istringstream lines(all.substr(start, all.find("\n\n", start) - start));
  int found = 0;
  for (std::string line; std::getline(lines, line); ++found) {
    EXPECT_THAT(*text, HasSubstr("\n# " + line + "\n"));
  }
  EXPECT_EQ(found, 8);
}

TEST(ConfFile, SaysSomethingAboutEveryKey) {
  std::ifstream in(BERTH_CONF_DIR "/berthd.toml");
  std::string before;
  for (std::string line; std::getline(in, line); before = line) {
    EXPECT_LE(line.size(), 180u) << line;
    // A key follows a comment, or a key that shares its neighbour's.
    if (!line.empty() && line[0] != '#' && line[0] != '[') {
      EXPECT_FALSE(before.empty() || before[0] == '[') << "no comment above: " << line;
    }
  }
}

}  // namespace
}  // namespace berth::config
