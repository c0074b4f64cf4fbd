// What goes wrong between the daemon, `berth-monitor exec` and a runtime, with a script in the
// runtime's place, which runs the "process" as a shell script.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/runtime/testing/lab.h"

namespace berth::runtime {
namespace {

using testing::Eventually;
using testing::FakeRuntime;
using ::testing::HasSubstr;
using testing::Lab;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(ExecFaultTest, CommandOfTheScriptRuns) {
  Lab lab(FakeRuntime());
  const absl::StatusOr<ExecResult> result =
      lab.runtime().ExecSync(Lab::Soon(), "c", "echo out; echo err >&2; exit 4", absl::Seconds(9));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "out\n");
  EXPECT_EQ(result->err, "err\n");
  EXPECT_EQ(result->exit_code, 4);
}

TEST(ExecFaultTest, HangingRuntimeIsKilledAtTheTimeout) {
  Lab lab(FakeRuntime(R"(sh -c "sleep 1000; : $root" & sleep 1000)"));
  const absl::StatusOr<ExecResult> result =
      lab.runtime().ExecSync(Lab::Soon(), "c", "", absl::Milliseconds(200));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->timed_out);
}

TEST(ExecFaultTest, WhatAKilledRuntimeLeavesIsRemoved) {
  Lab lab(FakeRuntime(
      R"(touch $_LIBCONTAINER_STATEDIR/crun.a; mount --bind $_LIBCONTAINER_STATEDIR/crun.a \
                         $_LIBCONTAINER_STATEDIR/crun.a; touch $root/up; sleep 1000)"));
  const auto before = base::ListDir(lab.dir());
  const absl::StatusOr<ExecResult> result =
      lab.runtime().ExecSync(Lab::Soon(), "c", "", absl::Seconds(2));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->timed_out);
  const auto after = base::ListDir(lab.dir());
  ASSERT_TRUE(before.ok() && after.ok());
  for (const std::string& name : *after) {
    EXPECT_THAT(name, ::testing::Not(::testing::StartsWith("exec-")));
  }
}

TEST(ExecFaultTest, RuntimeWithoutPidOrProgram) {
  Lab lab(FakeRuntime("exit 0"));
  EXPECT_TRUE(
      absl::IsUnavailable(lab.runtime().ExecSync(Lab::Soon(), "c", "", absl::Seconds(9)).status()));
  Handler handler = lab.handler();
  handler.path = "/nowhere/runc";
  OciRuntimeOptions options;
  options.monitor_path = Lab::monitor_path();
  options.scratch_dir = lab.dir();
  OciRuntime missing(lab.runner(), handler, options);
  absl::Status status = missing.ExecSync(Lab::Soon(), "c", "", absl::Seconds(9)).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("run '/nowhere/runc': No such file or directory"));
  options.monitor_path = "/nowhere/berth-monitor";
  OciRuntime helpless(lab.runner(), lab.handler(), options);
  status = helpless.ExecSync(Lab::Soon(), "c", "", absl::Seconds(9)).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST(ExecFaultTest, HelperThatIsKilled) {
  Lab lab(FakeRuntime("kill -9 $PPID; exit 0"));
  const absl::Status status =
      lab.runtime().ExecSync(Lab::Soon(), "c", "", absl::Seconds(9)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
  EXPECT_THAT(Message(status), HasSubstr("ended unexpectedly"));
}

TEST(ExecFaultTest, DaemonThatDiesTakesTheCommandWithIt) {
  Lab lab(FakeRuntime());
  const pid_t daemon = fork();
  if (daemon == 0) {
    (void)lab.runtime().ExecSync(Lab::Soon(), "c",
                                 "touch " + lab.dir() + "/up; while :; do sleep 0.1; done",
                                 absl::ZeroDuration());
    _exit(1);
  }
  EXPECT_TRUE(Eventually([&] { return base::PathExists(lab.dir() + "/up"); }));
  kill(daemon, SIGKILL);
  waitpid(daemon, nullptr, 0);
  EXPECT_TRUE(Eventually([&] { return testing::ProcessesWith("exec --detach").empty(); }));
}

}  // namespace
}  // namespace berth::runtime
