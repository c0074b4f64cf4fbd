#include "lib/base/process_runner.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::base {
namespace {

ProcessSpec Shell(const std::string& script) {
  ProcessSpec spec;
  spec.argv = {"/bin/sh", "-c", script};
  spec.env = {"PATH=/usr/bin:/bin", "GREETING=hi there"};
  return spec;
}

TEST(ProcessRunnerTest, InputOutputExitCode) {
  SystemProcessRunner runner;
  auto result = runner.Run(OpContext::WithTimeout(absl::Seconds(20)),
                           Shell("cat; echo err >&2; exit 3"), "data", {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "data");
  EXPECT_EQ(result->err, "err\n");
  EXPECT_EQ(result->exit.code, 3);
}

TEST(ProcessRunnerTest, ChildSeesOnlyItsDescriptorsAndEnvironment) {
  UniqueFd inherited(::open("/etc/passwd", O_RDONLY));  // deliberately without close-on-exec
  SystemProcessRunner runner;
  // 3 is ls' own descriptor of the directory.
  auto result =
      runner.Run(OpContext::WithTimeout(absl::Seconds(20)), Shell("exec ls /proc/self/fd"), "", {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "0\n1\n2\n3\n");
  result = runner.Run(OpContext::WithTimeout(absl::Seconds(20)),
                      Shell("env | grep -v -e PWD= -e '^_='"), "", {});
  EXPECT_EQ(result->out, "GREETING=hi there\nPATH=/usr/bin:/bin\n");
}

TEST(ProcessRunnerTest, ExtraDescriptorsFromThreeOn) {
  UniqueFd file(::open("/etc/hostname", O_RDONLY | O_CLOEXEC));
  ProcessSpec spec = Shell("cat <&3");
  spec.extra_fds = {file.get()};
  SystemProcessRunner runner;
  auto result = runner.Run(OpContext::WithTimeout(absl::Seconds(20)), spec, "", {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out, *ReadFile("/etc/hostname", 1000));
}

TEST(ProcessRunnerTest, MissingProgramAndFailingSetup) {
  SystemProcessRunner runner;
  ProcessSpec spec;
  spec.argv = {"/nonexistent/program"};
  auto started = runner.Start(spec);
  EXPECT_TRUE(absl::IsNotFound(started.status())) << started.status();
  spec = Shell("true");
  spec.before_exec = [] { return EPERM; };
  EXPECT_TRUE(absl::IsPermissionDenied(runner.Start(spec).status()));
}

TEST(ProcessRunnerTest, DeadlineKills) {
  SystemProcessRunner runner;
  auto result =
      runner.Run(OpContext::WithTimeout(absl::Milliseconds(50)), Shell("exec sleep 600"), "", {});
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
}

TEST(ProcessRunnerTest, SignalsAndLimits) {
  SystemProcessRunner runner;
  auto result = runner.Run(OpContext::WithTimeout(absl::Seconds(20)), Shell("kill -9 $$"), "", {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->exit.signal, SIGKILL);
  EXPECT_EQ(result->exit.Combined(), 137);
  result = runner.Run(OpContext::WithTimeout(absl::Seconds(20)), Shell("head -c 100000 /dev/zero"),
                      "", {1000, 1000});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out.size(), 1000u);
  EXPECT_TRUE(result->truncated);
}

TEST(ProcessRunnerTest, GrandchildHoldingThePipeIsNotWaitedFor) {
  SystemProcessRunner runner;
  const absl::Time start = absl::Now();
  auto result =
      runner.Run(OpContext::WithTimeout(absl::Seconds(60)), Shell("sleep 30 & echo $!"), "", {});
  ASSERT_TRUE(result.ok());
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  ::kill(static_cast<pid_t>(std::stoi(result->out)), SIGKILL);
}

TEST(ProcessRunnerTest, ChildThatDoesNotReadItsInput) {
  SystemProcessRunner runner;
  ProcessSpec spec;
  spec.argv = {"/bin/sh", "-c", "exec <&-; echo out; exit 5"};
  // More than a pipe holds, and no handler for SIGPIPE here: it must not be raised.
  const auto result =
      runner.Run(OpContext::WithTimeout(absl::Seconds(10)), spec, std::string(1 << 20, 'x'), {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit.code, 5);
  EXPECT_EQ(result->out, "out\n");
}

TEST(ProcessRunnerTest, ARaisedLimitOfOpenFilesIsNotHandedOn) {
  rlimit limit;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = std::min<rlim_t>(512, limit.rlim_max);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_TRUE(RaiseOpenFileLimit().ok());
  rlimit raised;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &raised), 0);
  EXPECT_EQ(raised.rlim_cur, limit.rlim_max);
  SystemProcessRunner runner;
  auto result = runner.Run(OpContext::WithTimeout(absl::Seconds(20)), Shell("ulimit -n"), "", {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out, std::to_string(limit.rlim_cur) + "\n");
}

TEST(ProcessRunnerTest, AChildInAUserNamespace) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "needs root to map ids";
  }
  const int dumpable = ::prctl(PR_GET_DUMPABLE);
  SystemProcessRunner runner;
  ProcessSpec spec = Shell("id -u; id -g; id -G; cat /proc/self/uid_map; stat -c %u /proc/$$/exe");
  spec.user_namespace = {.uid_map = "0 100000 10\n",
                         .gid_map = "0 200000 10\n",
                         .root_uid = 100000,
                         .root_gid = 200000};
  auto result = runner.Run(OpContext::WithTimeout(absl::Seconds(20)), spec, "", {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "0\n0\n0\n         0     100000         10\n0\n") << result->err;
  EXPECT_EQ(::geteuid(), 0u);
  EXPECT_EQ(::prctl(PR_GET_DUMPABLE), dumpable);

  // One that nobody is root in.
  spec.user_namespace = {.uid_map = "7 1007 1\n", .gid_map = "8 1008 1\n", .is_root = false};
  result = runner.Run(OpContext::WithTimeout(absl::Seconds(20)), spec, "", {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out.substr(0, 12), "65534\n65534\n") << result->err;

  spec.user_namespace->uid_map = "0 1 0\n";
  result = runner.Run(OpContext::WithTimeout(absl::Seconds(20)), spec, "", {});
  EXPECT_NE(std::string(result.status().message()).find("write uid_map of the user namespace"),
            std::string::npos)
      << result.status();
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(ProcessRunnerTest, StartTimeOfLivingOnly) {
  EXPECT_TRUE(ProcessStartTime(::getpid()).ok());
  EXPECT_FALSE(ProcessStartTime(4000000).ok());
}

}  // namespace
}  // namespace berth::base
