#include "lib/runtime/probe_cache.h"

#include <cstdlib>
#include <filesystem>

#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::runtime {
namespace {

// Counts what is started.
class CountingRunner : public base::ProcessRunner {
 public:
  absl::StatusOr<base::Process> Start(const base::ProcessSpec& spec) override {
    ++runs;
    return runner_.Start(spec);
  }
  absl::StatusOr<base::RunResult> Run(const base::OpContext& ctx, const base::ProcessSpec& spec,
                                      std::string_view input, base::RunLimits limits) override {
    ++runs;
    return runner_.Run(ctx, spec, input, limits);
  }
  int runs = 0;

 private:
  base::SystemProcessRunner runner_;
};

// "runtimes" that are programs and not scripts: coreutils' true knows --version.
class ProbeCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-probes-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    CopyTrue();
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  std::string Program() const { return dir_ + "/runtime"; }
  std::string CachePath() const { return dir_ + "/probes.json"; }
  void CopyTrue() {
    std::filesystem::remove(Program());
    std::filesystem::copy_file("/bin/true", Program());
  }
  // Processes started by a Load.
  int Runs(const std::string& cache_path) {
    CountingRunner runner;
    const std::vector<HandlerConfig> configs = {{"runtime", Program(), "", {}}};
    const auto handlers = RuntimeHandlers::Load(base::OpContext::WithTimeout(absl::Seconds(20)),
                                                runner, configs, "runtime", true, {}, cache_path);
    EXPECT_TRUE(handlers.ok()) << handlers.status();
    if (handlers.ok()) {
      EXPECT_EQ(handlers->default_handler().version.rfind("true (GNU", 0), 0u)
          << handlers->default_handler().version;
    }
    return runner.runs;
  }
  std::string dir_;
};

TEST_F(ProbeCacheTest, AsksOnceAndAgainWhenTheProgramIsAnother) {
  Runs(CachePath());
  EXPECT_EQ(Runs(CachePath()), 0);
  CopyTrue();
  EXPECT_EQ(Runs(CachePath()), 2);
  EXPECT_EQ(Runs(CachePath()), 0);
}

TEST_F(ProbeCacheTest, WithoutAPathNothingIsKept) {
  const int runs = Runs("");
  EXPECT_GE(runs, 2);
  EXPECT_EQ(Runs(""), runs);
}

TEST_F(ProbeCacheTest, OfAScriptNothingIsKept) {
  ASSERT_TRUE(
      base::WriteFile(Program(), "#!/bin/sh\n[ $1 = --version ] && echo 'true (GNU'\n", 0700).ok());
  Runs(CachePath());
  EXPECT_EQ(Runs(CachePath()), 2);
}

TEST_F(ProbeCacheTest, ADamagedFileMeansAskingAgain) {
  Runs(CachePath());
  for (const char* text : {"", "{", "[1]", "{\"a\":1}", "{\"a\":{\"version\":7}}"}) {
    ASSERT_TRUE(base::WriteFile(CachePath(), text, 0600).ok());
    EXPECT_GE(Runs(CachePath()), 2) << text;
    EXPECT_EQ(Runs(CachePath()), 0) << text;
  }
}

TEST_F(ProbeCacheTest, KeepsEveryFeature) {
  for (int bit = 0; bit < 3; ++bit) {
    const ProbeCache::Answer answer = {"v", {bit == 0, bit == 1, bit == 2}};
    ProbeCache cache(CachePath());
    cache.Put(Program(), answer);
    ASSERT_TRUE(cache.Save().ok());
    EXPECT_EQ(ProbeCache(CachePath()).Find(Program()), answer) << bit;
  }
}

}  // namespace
}  // namespace berth::runtime
