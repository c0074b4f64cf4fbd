// The life of containers of real runtimes: who is who, how they end, what outlives what.
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/runtime/testing/real_runtime_test.h"

namespace berth::runtime {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using testing::Lab;

class ContainerRootTest : public testing::RealRuntimeTest {};

INSTANTIATE_TEST_SUITE_P(Runtimes, ContainerRootTest, testing::RealRuntimes(),
                         testing::RuntimeName);

TEST_P(ContainerRootTest, StateTellsWhoIsWho) {
  const MonitorSpec spec = lab_->Prepare({.args = {"/bin/sleep", "100"}});
  const absl::StatusOr<MonitorState> state = lab_->Spawn(spec);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->phase, MonitorState::Phase::kCreated);
  EXPECT_EQ(base::ProcessStartTime(state->monitor.pid).value_or(0), state->monitor.start_time);
  EXPECT_EQ(base::ProcessStartTime(state->container.pid).value_or(0), state->container.start_time);
  EXPECT_FALSE(state->tty);
  EXPECT_EQ(lab_->Connect(spec).state().container, state->container);
  ASSERT_TRUE(lab_->runtime().Start(Lab::Soon(), spec.id).ok());
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), spec.id, SIGKILL, false).ok());
  const absl::StatusOr<ExitRecord> exit = lab_->AwaitExit(spec);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_EQ(exit->Combined(), 137);
  EXPECT_TRUE(absl::IsNotFound(MonitorConnection::Connect(Lab::Soon(), spec.socket_path).status()));
}

TEST_P(ContainerRootTest, OutOfMemoryIsRecorded) {
  const MonitorSpec spec = lab_->Run(
      {.args = {"/bin/sh", "-c", "a=x; while :; do a=$a$a; done"}, .memory_limit = 24 << 20});
  const absl::StatusOr<ExitRecord> exit = lab_->AwaitExit(spec);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_TRUE(exit->oom_killed);
}

TEST_P(ContainerRootTest, OutOfMemoryOfAChildIsToldWhileItRuns) {
  const MonitorSpec spec = lab_->Run(
      {.args =
           {"/bin/sh", "-c",
            "sh -c 'a=x; while :; do a=$a$a; done'; echo survived; while :; do sleep 0.05; done"},
       .memory_limit = 24 << 20});
  ASSERT_TRUE(lab_->AwaitLog(spec, "survived"));
  EXPECT_TRUE(Eventually([&] { return lab_->oom(spec.id) == 1; }));
  EXPECT_TRUE(lab_->Connect(spec).state().oom_killed);
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), spec.id, SIGKILL, false).ok());
  EXPECT_TRUE(lab_->AwaitExit(spec)->oom_killed);
}

// systemd removes the scope as soon as it is empty, perhaps before the monitor looks.
TEST_P(ContainerRootTest, SYSTEMD_OutOfMemoryInAScopeIsRecorded) {
  if (!base::PathExists("/run/systemd/system")) {
    GTEST_SKIP() << "needs systemd as init";
  }
  lab_ = std::make_unique<Lab>(GetParam(), /*systemd=*/true);
  for (int i = 0; i < 3; i++) {
    const MonitorSpec spec = lab_->Run(
        {.args = {"/bin/sh", "-c", "a=x; while :; do a=$a$a; done"}, .memory_limit = 24 << 20});
    const absl::StatusOr<ExitRecord> exit = lab_->AwaitExit(spec);
    ASSERT_TRUE(exit.ok()) << exit.status();
    EXPECT_TRUE(exit->oom_killed);
  }
}

TEST_P(ContainerRootTest, PlainKillIsNotOutOfMemory) {
  const MonitorSpec spec = lab_->Run({.args = {"/bin/sleep", "100"}, .memory_limit = 24 << 20});
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), spec.id, SIGKILL, false).ok());
  EXPECT_FALSE(lab_->AwaitExit(spec)->oom_killed);
}

TEST_P(ContainerRootTest, MissingCommandIsSaidAndNothingIsLeft) {
  const MonitorSpec spec = lab_->Prepare({.args = {"nope"}});
  const absl::StatusOr<MonitorState> state = lab_->Spawn(spec);
  ASSERT_FALSE(state.ok());
  EXPECT_TRUE(absl::IsNotFound(state.status())) << state.status();
  EXPECT_EQ(base::GetReason(state.status()), OciRuntime::kReasonNoCommand);
  EXPECT_THAT(
      std::string(state.status().message()),
      HasSubstr("executable file " + std::string(GetParam() == "runc" ? "not" : "`nope` not") +
                " found in $PATH"));
  EXPECT_EQ(lab_->gone(spec.id), 0);
}

TEST_P(ContainerRootTest, BadSpecIsSaid) {
  const MonitorSpec spec = lab_->Prepare({.args = {"/bin/true"}});
  ASSERT_TRUE(base::WriteFile(spec.bundle + "/config.json", "{ nonsense", 0600).ok());
  const absl::StatusOr<MonitorState> state = lab_->Spawn(spec);
  ASSERT_FALSE(state.ok());
  EXPECT_THAT(std::string(state.status().message()),
              HasSubstr(fmt::format("{} create container '{}': ", GetParam(), spec.id)));
}

TEST_P(ContainerRootTest, ProcessesThatOutliveTheFirstDoNotDelayItsExit) {
  const MonitorSpec spec =
      lab_->Run({.args = {"/bin/sh", "-c", "setsid sleep 300 & echo started; exit 4"},
                 .share_pid_namespace = true});
  const absl::Time start = absl::Now();
  const absl::StatusOr<ExitRecord> exit = lab_->AwaitExit(spec);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->code, 4);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_THAT(lab_->LogRecords(spec), ElementsAre("stdout F started"));
  EXPECT_TRUE(lab_->runtime().Kill(Lab::Soon(), spec.id, SIGKILL, /*all=*/true).ok());
}

TEST_P(ContainerRootTest, SurvivesTheDaemonAndIsAdopted) {
  // A process of its own plays the daemon that dies by SIGKILL.
  const MonitorSpec spec = lab_->Prepare(
      {.args = {"/bin/sh", "-c",
                "trap 'echo term; exit 9' TERM; echo up; while :; do sleep 0.05; done"}});
  const pid_t daemon = fork();
  if (daemon == 0) {
    base::EventLoop loop;
    loop.Start();
    base::SystemProcessRunner runner;
    Monitors monitors(loop, runner, Lab::monitor_path(), [](const std::string&) {});
    const bool ok =
        monitors.Spawn(Lab::Soon(), spec).ok() && lab_->runtime().Start(Lab::Soon(), spec.id).ok();
    raise(ok ? SIGKILL : SIGABRT);
  }
  int status;
  ASSERT_EQ(waitpid(daemon, &status, 0), daemon);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

  ASSERT_TRUE(lab_->AwaitLog(spec, "stdout F up"));
  const absl::StatusOr<MonitorState> state =
      lab_->monitors().Adopt(Lab::Soon(), spec.id, spec.socket_path);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->phase, MonitorState::Phase::kCreated);
  // Signals that end a daemon's process group do not reach it.
  for (const int signal : {SIGHUP, SIGTERM, SIGINT, SIGPIPE, SIGQUIT, SIGUSR1}) {
    kill(state->monitor.pid, signal);
  }
  ASSERT_TRUE(lab_->Connect(spec).GetState(Lab::Soon()).ok());
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), spec.id, SIGTERM, false).ok());
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 9);
  EXPECT_THAT(lab_->LogRecords(spec), ElementsAre("stdout F up", "stdout F term"));
}

TEST_P(ContainerRootTest, ContainerSurvivesItsMonitor) {
  const MonitorSpec spec = lab_->RunShell("while :; do sleep 0.05; done");
  const MonitorState state = lab_->Connect(spec).state();
  ASSERT_EQ(kill(state.monitor.pid, SIGKILL), 0);
  ASSERT_TRUE(lab_->AwaitGone(spec.id));
  EXPECT_TRUE(absl::IsNotFound(ReadExitRecord(spec.exit_path).status()));
  EXPECT_EQ(base::ProcessStartTime(state.container.pid).value_or(0), state.container.start_time);
  ASSERT_TRUE(lab_->runtime().Delete(Lab::Soon(), spec.id, true).ok());
  unlink(spec.socket_path.c_str());
}

TEST_P(ContainerRootTest, ForgottenMonitorsAreNotReported) {
  const MonitorSpec spec = lab_->RunShell("while :; do sleep 0.05; done");
  lab_->monitors().Forget(spec.id);
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), spec.id, SIGKILL, false).ok());
  EXPECT_TRUE(Eventually([&] { return ReadExitRecord(spec.exit_path).ok(); }));
  EXPECT_EQ(lab_->gone(spec.id), 0);
}

TEST_P(ContainerRootTest, PathsMayBeLong) {
  MonitorSpec spec = lab_->Prepare({.args = {"/bin/tty"}, .tty = true});
  const std::string deep = spec.bundle + "/" + std::string(120, 'd') + "/" + std::string(120, 'e');
  ASSERT_TRUE(base::MakeDirs(deep, 0700).ok());
  spec.socket_path = deep + "/" + spec.id;
  const absl::StatusOr<MonitorState> state = lab_->Spawn(spec);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(lab_->Connect(spec).state().container, state->container);
  ASSERT_TRUE(lab_->runtime().Start(Lab::Soon(), spec.id).ok());
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 0);
}

TEST_P(ContainerRootTest, PeersOfOtherUsersAreDropped) {
  const MonitorSpec spec = lab_->RunShell("while :; do sleep 0.05; done");
  // Even where they could reach the socket, whose mode keeps them away.
  struct stat status;
  ASSERT_EQ(stat(spec.socket_path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  ASSERT_EQ(chmod(lab_->dir().c_str(), 0755), 0);
  ASSERT_EQ(chmod(spec.bundle.c_str(), 0755), 0);
  ASSERT_EQ(chmod(spec.socket_path.c_str(), 0666), 0);
  const pid_t stranger = fork();
  if (stranger == 0) {
    const bool changed = setgid(65534) == 0 && setuid(65534) == 0;
    const absl::Status refused = MonitorConnection::Connect(Lab::Soon(), spec.socket_path).status();
    _exit(changed && absl::IsUnavailable(refused) ? 0 : 1);
  }
  int exit;
  ASSERT_EQ(waitpid(stranger, &exit, 0), stranger);
  EXPECT_EQ(WEXITSTATUS(exit), 0);
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), spec.id, SIGKILL, false).ok());
  EXPECT_TRUE(lab_->AwaitExit(spec).ok());
}

TEST_P(ContainerRootTest, MonitorsScoreIsNotInherited) {
  const MonitorSpec spec = lab_->RunShell("cat /proc/self/oom_score_adj");
  ASSERT_TRUE(lab_->AwaitExit(spec).ok());
  const std::string own = base::ReadFile("/proc/self/oom_score_adj", 100).value_or("?");
  EXPECT_THAT(lab_->LogRecords(spec), ElementsAre("stdout F " + own.substr(0, own.find('\n'))));
}

}  // namespace
}  // namespace berth::runtime
