#include "lib/hooks/hook_dirs.h"

#include <cstdlib>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"

#include "lib/base/file.h"
#include "lib/base/log.h"

namespace berth::hooks {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HookDirsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-hooks-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    for (const char* name : {"usr", "etc"}) {
      ASSERT_TRUE(base::MakeDirs(dir_ + "/" + name).ok());
    }
    hooks_ = std::make_unique<HookDirs>(
        std::vector<std::string>{dir_ + "/usr", dir_ + "/absent", dir_ + "/etc"});
    spdlog::logger& log = base::Log("hooks");
    sinks_ = log.sinks();
    log.sinks() = {std::make_shared<spdlog::sinks::ostream_sink_mt>(told_)};
  }
  void TearDown() override {
    base::Log("hooks").sinks() = sinks_;
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(dir_ + "/" + name, text, 0600).ok());
  }
  void WriteHook(const std::string& name, const std::string& path, const char* stages,
                 const char* when = R"({"always":true})") {
    Write(name, fmt::format(R"({{"version":"1.0.0","hook":{{"path":"{}"}},"when":{},"stages":{}}})",
                            path, when, stages));
  }
  std::vector<std::string> Paths(const std::string& stage, const HookQuery& query = {}) {
    std::vector<std::string> paths;
    const model::Hooks matching = hooks_->Matching(query);
    const auto it = matching.find(stage);
    for (const model::Hook& hook : it == matching.end() ? std::vector<model::Hook>() : it->second) {
      paths.push_back(hook.path);
    }
    return paths;
  }
  // What was warned of since the last call.
  std::string Told() {
    std::string text = told_.str();
    told_.str("");
    return text;
  }

  std::string dir_;
  std::unique_ptr<HookDirs> hooks_;
  std::ostringstream told_;
  std::vector<spdlog::sink_ptr> sinks_;
};

TEST_F(HookDirsTest, InTheOrderOfNamesAndByStage) {
  WriteHook("usr/20-b.json", "/b", R"(["prestart","poststop"])");
  WriteHook("etc/10-a.json", "/a", R"(["prestart"])");
  WriteHook("usr/30-c.json", "/c", R"(["prestart"])", R"({"commands":["^only$"]})");
  Write("usr/README", "not a hook");
  EXPECT_THAT(Paths("prestart"), ElementsAre("/a", "/b"));
  EXPECT_THAT(Paths("prestart", {.command = "only"}), ElementsAre("/a", "/b", "/c"));
  EXPECT_THAT(Paths("poststop"), ElementsAre("/b"));
  EXPECT_THAT(Paths("createRuntime"), IsEmpty());
  EXPECT_EQ(Told(), "");
}

TEST_F(HookDirsTest, ALaterFileOfTheSameNameReplacesAnEarlierOne) {
  WriteHook("usr/a.json", "/usr", R"(["prestart","poststop"])");
  WriteHook("etc/a.json", "/etc", R"(["prestart"])");
  EXPECT_THAT(Paths("prestart"), ElementsAre("/etc"));
  EXPECT_THAT(Paths("poststop"), IsEmpty());
}

TEST_F(HookDirsTest, ABrokenFileIsToldOfOnceAndLeftOut) {
  WriteHook("usr/a.json", "/a", R"(["prestart"])");
  Write("usr/broken.json", "{");
  EXPECT_THAT(Paths("prestart"), ElementsAre("/a"));
  EXPECT_THAT(Told(), HasSubstr(dir_ + "/usr/broken.json"));
  EXPECT_THAT(Paths("prestart"), ElementsAre("/a"));
  EXPECT_EQ(Told(), "");
  WriteHook("usr/broken.json", "relative", R"(["prestart"])");
  EXPECT_THAT(Paths("prestart"), ElementsAre("/a"));
  EXPECT_THAT(Told(), HasSubstr("not an absolute path"));
  WriteHook("usr/broken.json", "/whole", R"(["prestart"])");
  EXPECT_THAT(Paths("prestart"), ElementsAre("/a", "/whole"));
}

}  // namespace
}  // namespace berth::hooks
