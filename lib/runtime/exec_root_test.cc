// ExecSync with real runtimes.
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/id.h"
#include "lib/base/status.h"
#include "lib/runtime/testing/real_runtime_test.h"

namespace berth::runtime {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::Lab;
using testing::ProcessesWith;

class ExecRootTest : public testing::RealRuntimeTest {
 protected:
  void SetUp() override {
    RealRuntimeTest::SetUp();
    if (lab_ != nullptr) {
      container_ = lab_->RunShell("while :; do sleep 1; done");
    }
  }
  void TearDown() override {
    if (lab_ != nullptr) {
      for (const std::string& name :
           base::ListDir(lab_->dir()).value_or(std::vector<std::string>())) {
        EXPECT_FALSE(name.starts_with("exec-") || name.starts_with(".exec-")) << name << " is left";
      }
    }
  }

  MonitorSpec container_;
};

INSTANTIATE_TEST_SUITE_P(Runtimes, ExecRootTest, testing::RealRuntimes(), testing::RuntimeName);

TEST_P(ExecRootTest, OutputErrorsAndCode) {
  const absl::StatusOr<ExecResult> result =
      lab_->Exec(container_, "echo out; echo err >&2; printf more; exit 42");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 42);
  EXPECT_EQ(result->out, "out\nmore");
  EXPECT_EQ(result->err, "err\n");
  EXPECT_FALSE(result->timed_out);
  EXPECT_FALSE(result->truncated);
}

TEST_P(ExecRootTest, SignalIs128More) {
  EXPECT_EQ(lab_->Exec(container_, "kill -9 $$")->exit_code, 137);
}

TEST_P(ExecRootTest, QuickCommandsLoseNothing) {
  for (int i = 0; i < 30; i++) {
    const absl::StatusOr<ExecResult> result = lab_->runtime().ExecSync(
        Lab::Soon(), container_.id, lab_->Process({"/bin/echo", fmt::format("{}", i)}),
        absl::Seconds(20));
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->out, fmt::format("{}\n", i));
  }
}

TEST_P(ExecRootTest, InputIsAtItsEnd) {
  EXPECT_EQ(lab_->Exec(container_, "cat; echo done")->out, "done\n");
}

TEST_P(ExecRootTest, MissingCommand) {
  for (const char* command : {"nope", "/bin/nope"}) {
    const absl::StatusOr<ExecResult> result = lab_->runtime().ExecSync(
        Lab::Soon(), container_.id, lab_->Process({command}), absl::Seconds(20));
    ASSERT_FALSE(result.ok());
    EXPECT_TRUE(absl::IsNotFound(result.status())) << result.status();
    EXPECT_EQ(base::GetReason(result.status()), OciRuntime::kReasonNoCommand);
    EXPECT_THAT(std::string(result.status().message()), HasSubstr("nope"));
  }
}

TEST_P(ExecRootTest, UnknownAndEndedContainers) {
  const std::string process = lab_->Process({"/bin/true"});
  absl::StatusOr<ExecResult> result =
      lab_->runtime().ExecSync(Lab::Soon(), base::GenerateId(), process, absl::Seconds(20));
  EXPECT_TRUE(absl::IsNotFound(result.status())) << result.status();
  EXPECT_EQ(base::GetReason(result.status()), std::nullopt);
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), container_.id, SIGKILL, false).ok());
  ASSERT_TRUE(lab_->AwaitExit(container_).ok());
  result = lab_->runtime().ExecSync(Lab::Soon(), container_.id, process, absl::Seconds(20));
  EXPECT_TRUE(absl::IsFailedPrecondition(result.status())) << result.status();
}

TEST_P(ExecRootTest, TimeoutKillsTheWholeTree) {
  const absl::Time start = absl::Now();
  const absl::StatusOr<ExecResult> result =
      lab_->Exec(container_,
                 "trap '' TERM INT HUP; echo before; "
                 "sh -c 'trap \"\" TERM; while :; do sleep 7777; done' & "
                 "(sleep 8888 &) ; sleep 9999",
                 absl::Milliseconds(1500));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->timed_out);
  EXPECT_EQ(result->exit_code, -1);
  EXPECT_EQ(result->out, "before\n");
  EXPECT_LT(absl::Now() - start, absl::Seconds(6));
  for (const char* left : {"7777", "8888", "9999"}) {
    EXPECT_TRUE(ProcessesWith(std::string("sleep\0", 6) + left).empty()) << left;
  }
  EXPECT_EQ(lab_->Exec(container_, "echo well")->out, "well\n");
}

TEST_P(ExecRootTest, CallersEndIsAnErrorAndKills) {
  const absl::StatusOr<ExecResult> result =
      lab_->runtime().ExecSync(base::OpContext::WithTimeout(absl::Seconds(1)), container_.id,
                               lab_->Process({"/bin/sleep", "6666"}), absl::ZeroDuration());
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
  EXPECT_TRUE(ProcessesWith(std::string("sleep\0", 6) + "6666").empty());
}

TEST_P(ExecRootTest, OutputIsCapped) {
  const absl::StatusOr<ExecResult> result =
      lab_->Exec(container_, "yes | head -c 20971520; echo last >&2; exit 3");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out.size(), OciRuntime::kExecOutputLimit);
  EXPECT_TRUE(result->truncated);
  EXPECT_EQ(result->err, "last\n");
  EXPECT_EQ(result->exit_code, 3);
}

TEST_P(ExecRootTest, BackgroundChildThatHoldsThePipeIsNotWaitedFor) {
  const absl::Time start = absl::Now();
  const absl::StatusOr<ExecResult> result =
      lab_->Exec(container_, "sleep 5555 & echo started; exit 6");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "started\n");
  EXPECT_EQ(result->exit_code, 6);
  EXPECT_LT(absl::Now() - start, absl::Seconds(4));
  // It was put into the background on purpose, so it goes on.
  EXPECT_TRUE(
      Eventually([] { return ProcessesWith(std::string("sleep\0", 6) + "5555").size() == 1; }));
}

TEST_P(ExecRootTest, BackgroundChildThatGoesOnWritingIsNotWaitedFor) {
  const absl::Time start = absl::Now();
  const absl::StatusOr<ExecResult> result = lab_->Exec(container_, "yes & exit 0");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 0);
  EXPECT_LT(absl::Now() - start, absl::Seconds(4));
}

TEST_P(ExecRootTest, BadProcessIsSaid) {
  const absl::StatusOr<ExecResult> result =
      lab_->runtime().ExecSync(Lab::Soon(), container_.id, "{ nonsense", absl::Seconds(20));
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr(fmt::format("{} exec in container '{}': ", GetParam(), container_.id)));
}

TEST_P(ExecRootTest, LeavesNoDescriptors) {
  const auto count = [] { return base::ListDir("/proc/self/fd")->size(); };
  ASSERT_TRUE(lab_->Exec(container_, "true").ok());
  const size_t before = count();
  for (int i = 0; i < 5; i++) {
    (void)lab_->Exec(container_, "true");
    (void)lab_->runtime().ExecSync(Lab::Soon(), container_.id, lab_->Process({"nope"}),
                                   absl::Seconds(20));
  }
  EXPECT_EQ(count(), before);
}

TEST_P(ExecRootTest, CommandHasOnlyItsStandardFiles) {
  EXPECT_EQ(lab_->Exec(container_, "ls /proc/$$/fd; true")->out, "0\n1\n2\n");
}

}  // namespace
}  // namespace berth::runtime
