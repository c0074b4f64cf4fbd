// What goes wrong between the daemon, its monitors and a runtime, with a script in the runtime's
// place.
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/monitor_protocol/protocol.h"
#include "lib/runtime/monitor_packets.h"
#include "lib/runtime/testing/lab.h"

namespace berth::runtime {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using testing::FakeRuntime;
using ::testing::HasSubstr;
using testing::Lab;
using ::testing::Not;

// A container that runs this shell script.
MonitorSpec PrepareScript(Lab& lab, const std::string& script) {
  MonitorSpec spec = lab.Prepare({});
  EXPECT_TRUE(base::WriteFile(spec.bundle + "/cmd", script, 0600).ok());
  return spec;
}

MonitorSpec RunScript(Lab& lab, const std::string& script) {
  MonitorSpec spec = PrepareScript(lab, script);
  const absl::StatusOr<MonitorState> state = lab.Spawn(spec);
  EXPECT_TRUE(state.ok()) << state.status();
  EXPECT_TRUE(lab.runtime().Start(Lab::Soon(), spec.id).ok());
  return spec;
}

// Time that a process has run (first field of /proc/PID/schedstat, man 5 proc).
absl::Duration CpuTime(pid_t pid) {
  return absl::Nanoseconds(
      std::stoll(base::ReadFile(fmt::format("/proc/{}/schedstat", pid), 4096).value_or("0")));
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(MonitorFaultTest, ContainerOfTheScriptRuns) {
  Lab lab(FakeRuntime());
  const MonitorSpec spec = RunScript(lab, "echo out; echo err >&2; exit 3");
  EXPECT_EQ(lab.AwaitExit(spec)->code, 3);
  EXPECT_THAT(lab.LogRecords(spec),
              ::testing::UnorderedElementsAre("stdout F out", "stderr F err"));
  EXPECT_EQ(lab.gone(spec.id), 1);
}

TEST(MonitorFaultTest, MissingMonitor) {
  Lab lab(FakeRuntime());
  Monitors monitors(lab.loop(), lab.runner(), "/nowhere/berth-monitor", [](const std::string&) {});
  const absl::Status status = monitors.Spawn(Lab::Soon(), PrepareScript(lab, "")).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("/nowhere/berth-monitor"));
}

TEST(MonitorFaultTest, MissingRuntime) {
  Lab lab(FakeRuntime());
  MonitorSpec spec = PrepareScript(lab, "");
  spec.runtime[0] = "/nowhere/runc";
  const absl::Status status = lab.Spawn(spec).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("run '/nowhere/runc': No such file or directory"));
}

TEST(MonitorFaultTest, FailingCreateIsSaidBoundedAndWithoutControlCharacters) {
  Lab lab(FakeRuntime(R"(if [ "$verb" = create ]; then
    head -c 300000 /dev/zero | tr '\000' x >&2
    printf 'cannot\n\033[31mdo it\n' >&2; exit 7; fi)"));
  const MonitorSpec spec = PrepareScript(lab, "");
  const absl::Status status = lab.Spawn(spec).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_LT(status.message().size(), 2300u);
  EXPECT_THAT(Message(status), ::testing::EndsWith("xcannot; \\x1b[31mdo it"));
  EXPECT_THAT(lab.Calls(), HasSubstr("delete --force " + spec.id));
  EXPECT_EQ(lab.LogText(spec), "") << "the runtime's words are not the container's";
}

TEST(MonitorFaultTest, SilentFailure) {
  Lab lab(FakeRuntime("[ $verb = create ] && exit 9"));
  EXPECT_THAT(Message(lab.Spawn(PrepareScript(lab, "")).status()),
              HasSubstr("it exited with code 9 and said nothing"));
}

TEST(MonitorFaultTest, CreateKilledBySignal) {
  Lab lab(FakeRuntime("[ $verb = create ] && kill -9 $$"));
  EXPECT_THAT(Message(lab.Spawn(PrepareScript(lab, "")).status()),
              HasSubstr("it was ended by signal 9"));
}

TEST(MonitorFaultTest, NoPidOrNonsenseInThePidFile) {
  for (const char* fault : {"[ $verb = create ] && exit 0",
                            "[ $verb = create ] && echo nonsense > $pid_file && exit 0"}) {
    Lab lab(FakeRuntime(fault));
    EXPECT_THAT(Message(lab.Spawn(PrepareScript(lab, "")).status()),
                HasSubstr("read the pid that the runtime wrote"));
    EXPECT_THAT(lab.Calls(), HasSubstr("delete --force"));
  }
}

TEST(MonitorFaultTest, HangingCreateIsCancelledWithAllItStarted) {
  Lab lab(FakeRuntime(R"([ $verb = create ] && { sh -c "sleep 1000; : $bundle" & sleep 1000; })"));
  const MonitorSpec spec = PrepareScript(lab, "");
  const absl::Time start = absl::Now();
  const absl::Status status =
      lab.monitors().Spawn(base::OpContext::WithTimeout(absl::Milliseconds(300)), spec).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_THAT(lab.Calls(), HasSubstr("delete --force " + spec.id));
  EXPECT_FALSE(base::PathExists(spec.socket_path));
}

TEST(MonitorFaultTest, CallerThatWentAwayCancels) {
  Lab lab(FakeRuntime("[ $verb = create ] && sleep 1000"));
  bool cancelled = false;
  const base::OpContext ctx(absl::InfiniteFuture(), [&cancelled] {
    const bool now = cancelled;
    cancelled = true;
    return now;
  });
  EXPECT_TRUE(absl::IsCancelled(lab.monitors().Spawn(ctx, PrepareScript(lab, "")).status()));
}

TEST(MonitorFaultTest, MonitorKilledWhileCreating) {
  Lab lab(FakeRuntime("[ $verb = create ] && { kill -9 $PPID; exit 1; }"));
  const MonitorSpec spec = PrepareScript(lab, "");
  EXPECT_THAT(Message(lab.Spawn(spec).status()), HasSubstr("its monitor ended unexpectedly"));
  unlink(spec.socket_path.c_str());
}

TEST(MonitorFaultTest, TerminalThatNeverComes) {
  Lab lab(FakeRuntime());
  MonitorSpec spec = PrepareScript(lab, "");
  spec.tty = true;
  EXPECT_THAT(Message(lab.Spawn(spec).status()),
              HasSubstr("receive the terminal from the runtime"));
  EXPECT_THAT(lab.Calls(), HasSubstr("delete --force"));
}

TEST(MonitorFaultTest, LogOrSocketThatCannotBeMade) {
  Lab lab(FakeRuntime());
  MonitorSpec spec = PrepareScript(lab, "");
  spec.log_path = lab.dir() + "/nowhere/0.log";
  EXPECT_THAT(Message(lab.Spawn(spec).status()),
              HasSubstr("open the container's log: No such file or directory"));
  spec = PrepareScript(lab, "");
  spec.socket_path = lab.dir() + "/nowhere/monitor";
  EXPECT_THAT(Message(lab.Spawn(spec).status()),
              HasSubstr("listen on the monitor's socket: No such file or directory"));
  EXPECT_EQ(lab.Calls(), "") << "nothing was created";
}

TEST(MonitorFaultTest, WhatTheRuntimePrintsIsNotInTheLog) {
  Lab lab(FakeRuntime("[ $verb = create ] && { echo warning >&2; echo more; }"));
  const MonitorSpec spec = RunScript(lab, "echo mine");
  ASSERT_TRUE(lab.AwaitExit(spec).ok());
  EXPECT_THAT(lab.LogRecords(spec), ElementsAre("stdout F mine"));
}

// Runs in a process that ends by SIGKILL as soon as the runtime's create has begun.
void SpawnAndDie(Lab& lab, const MonitorSpec& spec) {
  const pid_t daemon = fork();
  if (daemon == 0) {
    base::EventLoop loop;
    loop.Start();
    base::SystemProcessRunner runner;
    Monitors monitors(loop, runner, Lab::monitor_path(), [](const std::string&) {});
    (void)monitors.Spawn(Lab::Soon(), spec);
    _exit(1);
  }
  EXPECT_TRUE(Eventually([&] { return lab.Calls().find("create") != std::string::npos; }));
  kill(daemon, SIGKILL);
  waitpid(daemon, nullptr, 0);
}

constexpr char kWaitForGo[] =
    "[ $verb = create ] && while [ ! -e $bundle/go ]; do sleep 0.02; done;";

TEST(MonitorFaultTest, DaemonThatDiesWhileCreatingFindsTheContainer) {
  Lab lab(FakeRuntime(kWaitForGo));
  const MonitorSpec spec = PrepareScript(lab, "exit 5");
  SpawnAndDie(lab, spec);
  EXPECT_EQ(lab.Connect(spec).state().phase, MonitorState::Phase::kCreating);
  EXPECT_TRUE(absl::IsFailedPrecondition(lab.Connect(spec).ReopenLog(Lab::Soon())));
  ASSERT_TRUE(base::WriteFile(spec.bundle + "/go", "", 0600).ok());
  const absl::StatusOr<MonitorState> state =
      lab.monitors().Adopt(Lab::Soon(), spec.id, spec.socket_path);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->phase, MonitorState::Phase::kCreated);
  EXPECT_TRUE(lab.runtime().Start(Lab::Soon(), spec.id).ok());
  EXPECT_EQ(lab.AwaitExit(spec)->code, 5);
}

TEST(MonitorFaultTest, FailedCreateIsCleanedUpWithoutTheDaemon) {
  Lab lab(FakeRuntime(std::string(kWaitForGo) + "[ $verb = create ] && exit 1"));
  const MonitorSpec spec = PrepareScript(lab, "");
  SpawnAndDie(lab, spec);
  ASSERT_TRUE(base::WriteFile(spec.bundle + "/go", "", 0600).ok());
  EXPECT_TRUE(Eventually([&] { return !base::PathExists(spec.socket_path); }));
  EXPECT_THAT(lab.Calls(), HasSubstr("delete --force " + spec.id));
  EXPECT_TRUE(
      absl::IsNotFound(lab.monitors().Adopt(Lab::Soon(), spec.id, spec.socket_path).status()));
}

TEST(MonitorFaultTest, AdoptOfAnEndedMonitor) {
  Lab lab(FakeRuntime());
  const MonitorSpec spec = RunScript(lab, "exit 0");
  ASSERT_TRUE(lab.AwaitExit(spec).ok());
  EXPECT_TRUE(
      absl::IsNotFound(lab.monitors().Adopt(Lab::Soon(), spec.id, spec.socket_path).status()));
  // A socket file of a monitor that was killed.
  const MonitorSpec killed = RunScript(lab, "sleep 1000; : keep");
  const MonitorState state = lab.Connect(killed).state();
  kill(state.monitor.pid, SIGKILL);
  ASSERT_TRUE(lab.AwaitGone(killed.id));
  EXPECT_TRUE(
      absl::IsNotFound(lab.monitors().Adopt(Lab::Soon(), killed.id, killed.socket_path).status()));
  kill(state.container.pid, SIGKILL);
  unlink(killed.socket_path.c_str());
}

TEST(MonitorFaultTest, StoppedMonitorDoesNotHangTheCaller) {
  Lab lab(FakeRuntime());
  const MonitorSpec spec = RunScript(lab, "while :; do sleep 0.1; done");
  MonitorConnection connection = lab.Connect(spec);
  const MonitorState state = connection.state();
  kill(state.monitor.pid, SIGSTOP);
  const base::OpContext ctx = base::OpContext::WithTimeout(absl::Milliseconds(100));
  EXPECT_TRUE(absl::IsDeadlineExceeded(connection.ReopenLog(ctx)));
  EXPECT_TRUE(absl::IsDeadlineExceeded(MonitorConnection::Connect(ctx, spec.socket_path).status()));
  kill(state.monitor.pid, SIGCONT);
  kill(state.container.pid, SIGKILL);
  EXPECT_TRUE(lab.AwaitExit(spec).ok());
}

class MonitorSocketTest : public ::testing::Test {
 protected:
  void SetUp() override { spec_ = RunScript(lab_, "while :; do sleep 0.1; done"); }
  void TearDown() override {
    kill(lab_.Connect(spec_).state().container.pid, SIGKILL);
    EXPECT_TRUE(lab_.AwaitExit(spec_).ok());
  }

  // A connection whose first packet has been read.
  base::UniqueFd Raw() {
    absl::StatusOr<base::UniqueFd> fd = ConnectMonitor(Lab::Soon(), spec_.socket_path);
    EXPECT_TRUE(fd.ok() && AwaitPacket(Lab::Soon(), fd->get()).ok());
    return *std::move(fd);
  }
  absl::StatusOr<Packet> Exchange(const std::string& packet) {
    const base::UniqueFd fd = Raw();
    EXPECT_TRUE(SendPacket(fd.get(), packet.data(), packet.size()).ok());
    return AwaitPacket(Lab::Soon(), fd.get());
  }

  Lab lab_{FakeRuntime()};
  MonitorSpec spec_;
};

TEST_F(MonitorSocketTest, NonsenseEndsOnlyItsOwnConnection) {
  MonitorConnection good = lab_.Connect(spec_);
  for (const std::string& nonsense : {std::string("\x01"), std::string("\x02\x10"),
                                      std::string("xyz"), std::string(20000, 'x')}) {
    const absl::StatusOr<Packet> answer = Exchange(nonsense);
    EXPECT_TRUE(answer.ok() && answer->end()) << nonsense.size();
  }
  EXPECT_TRUE(good.GetState(Lab::Soon()).ok());
}

TEST_F(MonitorSocketTest, UnknownAndShortRequestsAreAnswered) {
  monitor_protocol::AnswerPacket answer;
  ASSERT_TRUE(Exchange("\x01\x7f")->Get(answer));
  EXPECT_EQ(answer.error, EOPNOTSUPP);
  ASSERT_TRUE(Exchange("\x01\x13")->Get(answer));  // kResize without sizes
  EXPECT_EQ(answer.error, EINVAL);
  EXPECT_EQ(answer.request, monitor_protocol::PacketType::kResize);
  // Longer than known: from a newer daemon.
  ASSERT_TRUE(Exchange(std::string("\x01\x12 and more"))->Get(answer));
  EXPECT_EQ(answer.request, monitor_protocol::PacketType::kReopenLog);
  EXPECT_EQ(answer.error, 0);
}

TEST_F(MonitorSocketTest, ServesManyClientsAndRefusesTooMany) {
  std::vector<base::UniqueFd> clients;
  bool refused = false;
  for (int i = 0; i < 510 && !refused; i++) {
    absl::StatusOr<base::UniqueFd> fd = ConnectMonitor(Lab::Soon(), spec_.socket_path);
    ASSERT_TRUE(fd.ok());
    refused = AwaitPacket(Lab::Soon(), fd->get())->end();
    clients.push_back(*std::move(fd));
  }
  EXPECT_TRUE(refused);
  EXPECT_GE(clients.size(), 499u);
  clients.clear();
  EXPECT_TRUE(
      Eventually([&] { return MonitorConnection::Connect(Lab::Soon(), spec_.socket_path).ok(); }));
}

TEST(MonitorFaultTest, InputThatNobodyReadsDoesNotBlockTheMonitor) {
  Lab lab(FakeRuntime());
  MonitorSpec spec = PrepareScript(lab, "exit 2");
  spec.open_stdin = true;
  ASSERT_TRUE(lab.Spawn(spec).ok());
  absl::StatusOr<base::UniqueFd> fd = lab.Connect(spec).Attach(Lab::Soon(), true, false, false);
  ASSERT_TRUE(fd.ok());
  std::string packet = {monitor_protocol::kVersion,
                        static_cast<char>(monitor_protocol::PacketType::kStdin)};
  packet += std::string(8000, 'i');
  int sent = 0;
  while (SendPacket(fd->get(), packet.data(), packet.size()).ok() && sent < 1000) {
    sent++;
  }
  EXPECT_LT(sent, 1000) << "its socket is full at some time";
  const MonitorState state = lab.Connect(spec).state();
  // It waits, and does not ask again and again: neither with the client there nor after it left.
  fd->Reset();
  const absl::Duration before = CpuTime(state.monitor.pid);
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_LT(CpuTime(state.monitor.pid) - before, absl::Milliseconds(3));
  EXPECT_TRUE(lab.runtime().Start(Lab::Soon(), spec.id).ok());
  EXPECT_EQ(lab.AwaitExit(spec)->code, 2);
}

TEST(ExitRecordTest, RefusesWhatIsNone) {
  char name[] = "/tmp/berth-exit-XXXXXX";
  const base::UniqueFd fd(mkstemp(name));
  EXPECT_TRUE(absl::IsDataLoss(ReadExitRecord(name).status()));
  ASSERT_TRUE(base::WriteFd(fd.get(), std::string(36, 'x')).ok());
  EXPECT_TRUE(absl::IsDataLoss(ReadExitRecord(name).status()));
  monitor_protocol::ExitRecord record = {};
  record.magic = monitor_protocol::kExitRecordMagic;
  record.version = monitor_protocol::kVersion;
  const auto read = [&] {
    EXPECT_EQ(::pwrite(fd.get(), &record, sizeof(record), 0), ssize_t{sizeof(record)});
    return ReadExitRecord(name);
  };
  record.code = 255;
  EXPECT_EQ(read()->Combined(), 255);
  record.code = 256;
  EXPECT_TRUE(absl::IsDataLoss(read().status()));
  record.code = 0;
  record.signal = 64;
  EXPECT_EQ(read()->Combined(), 192);
  record.signal = INT_MAX;
  EXPECT_TRUE(absl::IsDataLoss(read().status()));
  unlink(name);
  EXPECT_TRUE(absl::IsNotFound(ReadExitRecord(name).status()));
}

}  // namespace
}  // namespace berth::runtime
