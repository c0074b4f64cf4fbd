// StartExec with real runtimes.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/id.h"
#include "lib/base/status.h"
#include "lib/monitor_protocol/protocol.h"
#include "lib/runtime/testing/real_runtime_test.h"

namespace berth::runtime {
namespace {

using monitor_protocol::ExecOutcome;
using monitor_protocol::ExecReportPacket;
using testing::Eventually;
using ::testing::HasSubstr;
using testing::Lab;
using testing::ProcessesWith;

constexpr ExecStreams kOutput = {.out = true, .err = true};
constexpr ExecStreams kAll = {.in = true, .out = true, .err = true};
constexpr ExecStreams kTerminal = {.in = true, .out = true, .terminal = true};

std::string Sleep(std::string_view seconds) {
  return std::string("sleep\0", 6) + std::string(seconds);
}

std::vector<pid_t> Helpers() { return ProcessesWith(std::string("exec\0--pid-file", 15)); }

// Reads until the end of file, or of a terminal.
std::string ReadAll(int fd) {
  std::string text;
  char buffer[65536];
  while (true) {
    pollfd entry = {fd, POLLIN, 0};
    if (::poll(&entry, 1, 20000) <= 0) {
      ADD_FAILURE() << "nothing comes";
      return text;
    }
    const ssize_t got = ::read(fd, buffer, sizeof(buffer));
    if (got <= 0) {
      return text;
    }
    text.append(buffer, static_cast<size_t>(got));
  }
}

void WriteAll(int fd, std::string_view data) {
  ::fcntl(fd, F_SETFL, 0);
  ASSERT_TRUE(base::WriteFd(fd, data).ok());
}

// Waits for the report; what follows it must be the end of file.
ExecReportPacket AwaitReport(int fd) {
  ::fcntl(fd, F_SETFL, 0);
  const timeval limit = {20, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  ExecReportPacket report = {};
  EXPECT_EQ(::recv(fd, &report, sizeof(report), 0), static_cast<ssize_t>(sizeof(report)));
  char more;
  EXPECT_EQ(::recv(fd, &more, 1, 0), 0);
  return report;
}

class ExecStreamRootTest : public testing::RealRuntimeTest {
 protected:
  void SetUp() override {
    RealRuntimeTest::SetUp();
    if (lab_ != nullptr) {
      container_ = lab_->RunShell("while :; do sleep 1; done");
    }
  }
  void TearDown() override {
    if (lab_ != nullptr) {
      EXPECT_TRUE(Eventually([this] { return Helpers().empty(); }));
      for (const std::string& name :
           base::ListDir(lab_->dir()).value_or(std::vector<std::string>())) {
        EXPECT_FALSE(name.starts_with("exec-") || name.starts_with(".exec-")) << name << " is left";
      }
    }
  }

  absl::StatusOr<StartedExec> Start(const std::vector<std::string>& command,
                                    const ExecStreams& streams, base::OpContext ctx = Lab::Soon()) {
    absl::StatusOr<StartedExec> started = lab_->runtime().StartExec(
        ctx, container_.id, lab_->Process(command, streams.terminal), streams);
    if (started.ok()) {
      lab_->monitors().Reap(std::move(started->helper));
    }
    return started;
  }
  StartedExec Shell(const std::string& script, const ExecStreams& streams) {
    absl::StatusOr<StartedExec> started = Start({"/bin/sh", "-c", script}, streams);
    EXPECT_TRUE(started.ok()) << started.status();
    return started.ok() ? *std::move(started) : StartedExec();
  }

  MonitorSpec container_;
};

INSTANTIATE_TEST_SUITE_P(Runtimes, ExecStreamRootTest, testing::RealRuntimes(),
                         testing::RuntimeName);

TEST_P(ExecStreamRootTest, StreamsAndCode) {
  StartedExec exec = Shell("cat; echo err >&2; exit 42", kAll);
  WriteAll(exec.in.get(), "in and out\n");
  exec.in.Reset();
  EXPECT_EQ(ReadAll(exec.out.get()), "in and out\n");
  EXPECT_EQ(ReadAll(exec.err.get()), "err\n");
  const ExecReportPacket report = AwaitReport(exec.report.get());
  EXPECT_EQ(report.outcome, ExecOutcome::kExited);
  EXPECT_EQ(report.code, 42);
  EXPECT_EQ(report.signal, 0);
}

TEST_P(ExecStreamRootTest, SignalIsReported) {
  StartedExec exec = Shell("kill -9 $$", kOutput);
  EXPECT_EQ(AwaitReport(exec.report.get()).signal, 9);
}

TEST_P(ExecStreamRootTest, QuickCommandsLoseNothing) {
  for (int i = 0; i < 20; i++) {
    StartedExec exec = Shell(fmt::format("echo {}", i), kOutput);
    ASSERT_EQ(ReadAll(exec.out.get()), fmt::format("{}\n", i));
    ASSERT_EQ(AwaitReport(exec.report.get()).code, 0);
  }
}

TEST_P(ExecStreamRootTest, UnwantedStreamsAreEmptyAndDropped) {
  StartedExec exec = Shell("cat; yes | head -c 1000000 >&2; echo done", {.out = true});
  EXPECT_FALSE(exec.in || exec.err || exec.terminal);
  EXPECT_EQ(ReadAll(exec.out.get()), "done\n");
  EXPECT_EQ(AwaitReport(exec.report.get()).code, 0);
  exec = Shell("yes | head -c 1000000; echo done >&2", {.err = true});
  EXPECT_FALSE(exec.in || exec.out || exec.terminal);
  EXPECT_EQ(ReadAll(exec.err.get()), "done\n");
  EXPECT_EQ(AwaitReport(exec.report.get()).code, 0);
}

TEST_P(ExecStreamRootTest, Terminal) {
  StartedExec exec = Shell("read x; tty; echo $x; stty size; echo err >&2; exit 3", kTerminal);
  EXPECT_FALSE(exec.in || exec.out || exec.err);
  const winsize size = {.ws_row = 33, .ws_col = 101, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::ioctl(exec.terminal.get(), TIOCSWINSZ, &size), 0);
  WriteAll(exec.terminal.get(), "typed\n");
  const std::string text = ReadAll(exec.terminal.get());
  EXPECT_THAT(text,
              ::testing::MatchesRegex("typed\r\n/dev/pts/[0-9]+\r\ntyped\r\n33 101\r\nerr\r\n"));
  EXPECT_EQ(AwaitReport(exec.report.get()).code, 3);
}

TEST_P(ExecStreamRootTest, QuickCommandsWithTerminalLoseNothing) {
  for (int i = 0; i < 10; i++) {
    StartedExec exec = Shell(fmt::format("echo {}", i), kTerminal);
    ASSERT_EQ(ReadAll(exec.terminal.get()), fmt::format("{}\r\n", i));
    ASSERT_EQ(AwaitReport(exec.report.get()).code, 0);
  }
}

TEST_P(ExecStreamRootTest, TerminalHangsUpAfterTheEndOnly) {
  StartedExec exec =
      Shell("exec </dev/null >/dev/null 2>&1; sleep 0.3; echo back >/dev/tty; exit 0", kTerminal);
  EXPECT_EQ(ReadAll(exec.terminal.get()), "back\r\n");
  EXPECT_EQ(AwaitReport(exec.report.get()).code, 0);
}

TEST_P(ExecStreamRootTest, MissingCommand) {
  for (const ExecStreams& streams : {kOutput, ExecStreams{.out = true}, kTerminal}) {
    for (const char* command : {"nope", "/bin/nope"}) {
      const absl::Status status = Start({command}, streams).status();
      EXPECT_TRUE(absl::IsNotFound(status)) << status;
      EXPECT_EQ(base::GetReason(status), OciRuntime::kReasonNoCommand);
      EXPECT_THAT(std::string(status.message()), HasSubstr("nope"));
    }
  }
}

TEST_P(ExecStreamRootTest, UnknownAndEndedContainers) {
  const std::string process = lab_->Process({"/bin/true"});
  absl::Status status =
      lab_->runtime().StartExec(Lab::Soon(), base::GenerateId(), process, kOutput).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_EQ(base::GetReason(status), std::nullopt);
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), container_.id, SIGKILL, false).ok());
  ASSERT_TRUE(lab_->AwaitExit(container_).ok());
  status = Start({"/bin/true"}, kOutput).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

TEST_P(ExecStreamRootTest, ClosingTheReportKillsTheWholeTree) {
  for (const ExecStreams& streams : {kAll, kTerminal}) {
    StartedExec exec = Shell(
        "trap '' TERM INT HUP; sh -c 'trap \"\" TERM HUP; while :; do sleep 7777; done' & "
        "(sleep 8888 &) ; echo up; sleep 9999",
        streams);
    for (const char* seconds : {"7777", "8888", "9999"}) {
      EXPECT_TRUE(Eventually([&] { return ProcessesWith(Sleep(seconds)).size() == 1; })) << seconds;
    }
    exec.report.Reset();
    for (const char* seconds : {"7777", "8888", "9999"}) {
      EXPECT_TRUE(Eventually([&] { return ProcessesWith(Sleep(seconds)).empty(); })) << seconds;
    }
  }
}

TEST_P(ExecStreamRootTest, ContainersEndEndsTheCommand) {
  StartedExec exec = Shell("echo up; sleep 9999", kOutput);
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), container_.id, SIGKILL, false).ok());
  EXPECT_EQ(ReadAll(exec.out.get()), "up\n");
  EXPECT_EQ(AwaitReport(exec.report.get()).signal, SIGKILL);
  ASSERT_TRUE(lab_->AwaitExit(container_).ok());
}

TEST_P(ExecStreamRootTest, BackgroundChildIsNotWaitedFor) {
  StartedExec exec = Shell("sleep 5555 & exit 6", kOutput);
  EXPECT_EQ(AwaitReport(exec.report.get()).code, 6);
  EXPECT_TRUE(Eventually([] { return ProcessesWith(Sleep("5555")).size() == 1; }));
}

TEST_P(ExecStreamRootTest, CommandHasOnlyItsStandardFiles) {
  for (const ExecStreams& streams : {kAll, ExecStreams{.out = true}}) {
    StartedExec exec = Shell("ls /proc/$$/fd; true", streams);
    EXPECT_EQ(ReadAll(exec.out.get()), "0\n1\n2\n");
  }
  StartedExec exec = Shell("ls -1 /proc/$$/fd; true", kTerminal);
  EXPECT_EQ(ReadAll(exec.terminal.get()), "0\r\n1\r\n2\r\n");
}

TEST_P(ExecStreamRootTest, ItCostsOneSmallProcessAndNoThread) {
  const size_t threads = base::ListDir("/proc/self/task")->size();
  StartedExec exec = Shell("echo up; sleep 4444", kOutput);
  EXPECT_EQ(base::ListDir("/proc/self/task")->size(), threads);
  const std::vector<pid_t> helpers = Helpers();
  ASSERT_EQ(helpers.size(), 1u);
  EXPECT_LE(testing::PssKilobytes(helpers[0]), 120);
}

TEST_P(ExecStreamRootTest, LeavesNoDescriptors) {
  const auto count = [] { return base::ListDir("/proc/self/fd")->size(); };
  // Helpers end, and are reaped, a moment later.
  const auto lowest = [&] {
    size_t least = count();
    Eventually([&] { return (least = std::min(least, count())) == 0; }, absl::Milliseconds(300));
    return least;
  };
  Shell("true", kAll);
  const size_t before = lowest();
  for (int i = 0; i < 5; i++) {
    Shell("true", kAll);
    Shell("sleep 3333", kTerminal);
    (void)Start({"nope"}, kTerminal);
    (void)Start({"nope"}, {.out = true});
  }
  EXPECT_LE(lowest(), before);
}

}  // namespace
}  // namespace berth::runtime
