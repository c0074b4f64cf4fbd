// What goes in and out of containers of real runtimes: log, terminal, input, attached clients.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/monitor_protocol/protocol.h"
#include "lib/runtime/testing/real_runtime_test.h"

namespace berth::runtime {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using testing::Lab;
using testing::PssKilobytes;

class ContainerIoRootTest : public testing::RealRuntimeTest {};

INSTANTIATE_TEST_SUITE_P(Runtimes, ContainerIoRootTest, testing::RealRuntimes(),
                         testing::RuntimeName);

TEST_P(ContainerIoRootTest, OutputAndExitCode) {
  const MonitorSpec spec =
      lab_->RunShell("echo hello; echo problem >&2; printf 'no newline'; exit 7");
  const absl::StatusOr<ExitRecord> exit = lab_->AwaitExit(spec);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->code, 7);
  EXPECT_EQ(exit->signal, 0);
  EXPECT_FALSE(exit->oom_killed);
  EXPECT_LT(absl::AbsDuration(absl::Now() - exit->exit_time), absl::Seconds(20));
  EXPECT_THAT(
      lab_->LogRecords(spec),
      ::testing::UnorderedElementsAre("stdout F hello", "stderr F problem", "stdout P no newline"));
  EXPECT_EQ(lab_->gone(spec.id), 1);
}

TEST_P(ContainerIoRootTest, MonitorFitsInItsMemory) {
  const MonitorSpec spec =
      lab_->RunShell("trap 'exit 0' TERM; seq 1 20000; echo ready; while :; do sleep 0.05; done");
  ASSERT_TRUE(lab_->AwaitLog(spec, "ready"));
  const MonitorState state = lab_->Connect(spec).state();
  const int64_t pss = PssKilobytes(state.monitor.pid);
  EXPECT_GT(pss, 0);
  EXPECT_LE(pss, 120);
  RecordProperty("monitor_pss_kb", static_cast<int>(pss));
  ASSERT_TRUE(lab_->runtime().Kill(Lab::Soon(), spec.id, SIGTERM, false).ok());
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 0);
}

TEST_P(ContainerIoRootTest, BinaryOutputAndLongLines) {
  const MonitorSpec spec = lab_->RunShell(
      "dd if=/dev/zero bs=100000 count=1 2>/dev/null | tr '\\000' 'x'; echo; printf "
      "'\\000\\001\\377\\n'");
  ASSERT_TRUE(lab_->AwaitExit(spec).ok());
  std::string text;
  std::vector<std::string> records = lab_->LogRecords(spec);
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records.back(), std::string("stdout F \000\001\377", 12));
  for (const std::string& record : records) {
    EXPECT_LE(record.size(), 8192 + 9);
    text += record.substr(9);
    if (record[7] == 'F') {
      text += '\n';
    }
  }
  EXPECT_EQ(text, std::string(100000, 'x') + "\n" + std::string("\000\001\377\n", 4));
}

TEST_P(ContainerIoRootTest, MuchOutputIsComplete) {
  const MonitorSpec spec = lab_->RunShell("seq 1 200000");
  ASSERT_TRUE(lab_->AwaitExit(spec).ok());
  std::string text;
  for (const std::string& record : lab_->LogRecords(spec)) {
    text += record.substr(9) + (record[7] == 'F' ? "\n" : "");
  }
  std::string expected;
  for (int i = 1; i <= 200000; i++) {
    expected += fmt::format("{}\n", i);
  }
  EXPECT_TRUE(text == expected) << text.size() << " of " << expected.size();
}

TEST_P(ContainerIoRootTest, WhatALargePipeHoldsAtTheEndIsWritten) {
  const MonitorSpec spec = lab_->Prepare({.args = {"/bin/sh", "-c", "seq 1 100000"}});
  const absl::StatusOr<MonitorState> state = lab_->Spawn(spec);
  ASSERT_TRUE(state.ok()) << state.status();
  {
    const base::UniqueFd pipe(
        open(fmt::format("/proc/{}/fd/1", state->container.pid).c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_GT(fcntl(pipe.get(), F_SETPIPE_SZ, 1 << 20), 588895);
  }
  // The monitor sees output and end at once.
  ASSERT_EQ(kill(state->monitor.pid, SIGSTOP), 0);
  ASSERT_TRUE(lab_->runtime().Start(Lab::Soon(), spec.id).ok());
  EXPECT_TRUE(Eventually([&] { return !base::ProcessStartTime(state->container.pid).ok(); }));
  ASSERT_EQ(kill(state->monitor.pid, SIGCONT), 0);
  ASSERT_TRUE(lab_->AwaitExit(spec).ok());
  EXPECT_EQ(lab_->LogRecords(spec).back(), "stdout F 100000");
}

TEST_P(ContainerIoRootTest, TerminalOutputIsStdout) {
  const MonitorSpec spec =
      lab_->Run({.args = {"/bin/sh", "-c", "tty; stty size; echo e >&2; exit 3"},
                 .tty = true,
                 .tty_height = 33,
                 .tty_width = 101});
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 3);
  EXPECT_THAT(lab_->LogRecords(spec),
              ElementsAre("stdout F /dev/pts/0\r", "stdout F 33 101\r", "stdout F e\r"));
}

TEST_P(ContainerIoRootTest, TerminalThatNobodyHasOpenStays) {
  const MonitorSpec spec = lab_->Run(
      {.args = {"/bin/sh", "-c",
                "exec </dev/null >/dev/null 2>&1; sleep 0.3; echo back >/dev/pts/0; exit 3"},
       .tty = true});
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 3) << "no hangup";
  EXPECT_THAT(lab_->LogRecords(spec), ElementsAre("stdout F back\r"));
}

TEST_P(ContainerIoRootTest, TerminalIsResized) {
  const MonitorSpec spec = lab_->Run(
      {.args = {"/bin/sh", "-c",
                "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"},
       .tty = true});
  ASSERT_TRUE(lab_->AwaitLog(spec, "ready"));
  MonitorConnection connection = lab_->Connect(spec);
  EXPECT_TRUE(connection.state().tty);
  EXPECT_TRUE(connection.Resize(Lab::Soon(), 55, 77).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(connection.CloseStdin(Lab::Soon())));
  ASSERT_TRUE(lab_->AwaitExit(spec).ok());
  EXPECT_THAT(lab_->LogText(spec), HasSubstr("stdout F 55 77\r\n"));
}

TEST_P(ContainerIoRootTest, WithoutInputItIsAtItsEnd) {
  const MonitorSpec spec = lab_->RunShell("cat; echo done");
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 0);
  EXPECT_THAT(lab_->LogRecords(spec), ElementsAre("stdout F done"));
}

TEST_P(ContainerIoRootTest, InputStaysOpenUntilItIsClosed) {
  const MonitorSpec spec =
      lab_->Run({.args = {"/bin/sh", "-c", "cat; echo done"}, .open_stdin = true});
  MonitorConnection connection = lab_->Connect(spec);
  EXPECT_TRUE(connection.state().stdin_open);
  EXPECT_TRUE(absl::IsFailedPrecondition(connection.Resize(Lab::Soon(), 1, 1)));
  EXPECT_TRUE(connection.CloseStdin(Lab::Soon()).ok());
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 0);
  EXPECT_THAT(lab_->LogRecords(spec), ElementsAre("stdout F done"));
}

// Sends data as an attached client does.
void SendInput(int fd, const std::string& data) {
  std::string packet = {static_cast<char>(monitor_protocol::kVersion),
                        static_cast<char>(monitor_protocol::PacketType::kStdin)};
  packet += data;
  ASSERT_EQ(send(fd, packet.data(), packet.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(packet.size()));
}

// Everything that arrives until the end, by stream.
std::map<char, std::string> ReceiveAll(int fd) {
  fcntl(fd, F_SETFL, 0);
  std::map<char, std::string> received;
  char packet[monitor_protocol::kMaxPacketBytes];
  for (ssize_t size; (size = recv(fd, packet, sizeof(packet), 0)) > 0;) {
    received[packet[1]].append(packet + 2, static_cast<size_t>(size) - 2);
  }
  return received;
}

constexpr char kStdout = static_cast<char>(monitor_protocol::PacketType::kStdout);
constexpr char kStderr = static_cast<char>(monitor_protocol::PacketType::kStderr);
constexpr char kSkipped = static_cast<char>(monitor_protocol::PacketType::kSkipped);

TEST_P(ContainerIoRootTest, AttachedClientsSeeOutputAndSendInput) {
  const MonitorSpec spec = lab_->Run(
      {.args = {"/bin/sh", "-c", "cat; echo e >&2"}, .open_stdin = true, .stdin_once = true});
  absl::StatusOr<base::UniqueFd> both = lab_->Connect(spec).Attach(Lab::Soon(), true, true, true);
  absl::StatusOr<base::UniqueFd> errors =
      lab_->Connect(spec).Attach(Lab::Soon(), false, false, true);
  ASSERT_TRUE(both.ok() && errors.ok());
  SendInput(both->get(), "one\n");
  ASSERT_TRUE(lab_->AwaitLog(spec, "stdout F one"));
  SendInput(both->get(), "two\n");
  const char end[] = {monitor_protocol::kVersion,
                      static_cast<char>(monitor_protocol::PacketType::kStdinEnd)};
  ASSERT_EQ(send(both->get(), end, sizeof(end), 0), 2);
  std::map<char, std::string> received = ReceiveAll(both->get());
  EXPECT_EQ(received[kStdout], "one\ntwo\n");
  EXPECT_EQ(received[kStderr], "e\n");
  received = ReceiveAll(errors->get());
  EXPECT_EQ(received[kStdout], "");
  EXPECT_EQ(received[kStderr], "e\n");
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 0);
}

TEST_P(ContainerIoRootTest, MuchInputIsComplete) {
  const MonitorSpec spec = lab_->Run(
      {.args = {"/bin/sh", "-c", "sleep 0.3; cat"}, .open_stdin = true, .stdin_once = true});
  absl::StatusOr<base::UniqueFd> fd = lab_->Connect(spec).Attach(Lab::Soon(), true, false, false);
  ASSERT_TRUE(fd.ok());
  fcntl(fd->get(), F_SETFL, 0);
  std::string sent;
  for (int i = 0; i < 500; i++) {
    const std::string line = fmt::format("{:07}{}\n", i, std::string(992, 'i'));
    SendInput(fd->get(), line);
    sent += line;
  }
  fd->Reset();  // with stdin_once the end of the client is the end of the input
  ASSERT_TRUE(lab_->AwaitExit(spec).ok());
  std::string logged;
  for (const std::string& record : lab_->LogRecords(spec)) {
    logged += record.substr(9) + (record[7] == 'F' ? "\n" : "");
  }
  EXPECT_TRUE(logged == sent) << logged.size() << " of " << sent.size();
}

TEST_P(ContainerIoRootTest, InputOfManyIsComplete) {
  const MonitorSpec spec =
      lab_->Run({.args = {"/bin/sh", "-c", "while ! test -e /tmp/go; do sleep 0.02; done; cat"},
                 .open_stdin = true});
  std::vector<base::UniqueFd> clients;
  for (int client = 0; client < 3; client++) {
    absl::StatusOr<base::UniqueFd> fd = lab_->Connect(spec).Attach(Lab::Soon(), true, false, false);
    ASSERT_TRUE(fd.ok()) << fd.status();
    clients.push_back(*std::move(fd));
  }
  // More than the pipe and the monitor hold, so that each has some waiting when the others send.
  for (int i = 0; i < 15; i++) {
    for (size_t client = 0; client < clients.size(); client++) {
      SendInput(clients[client].get(), std::string(4000, static_cast<char>('a' + client)) + "\n");
    }
  }
  ASSERT_TRUE(base::WriteFile(lab_->dir() + "/rootfs/tmp/go", "", 0644).ok());
  for (const char letter : {'a', 'b', 'c'}) {
    EXPECT_TRUE(Eventually([&] {
      const std::string text = lab_->LogText(spec);
      return std::count(text.begin(), text.end(), letter) == 15 * 4000;
    })) << letter;
  }
}

TEST_P(ContainerIoRootTest, ManyClientsAttach) {
  constexpr size_t kClients = 200;
  const MonitorSpec spec = lab_->Run({.args = {"/bin/sh", "-c", "cat; seq 1 100; sleep 0.5"},
                                      .open_stdin = true,
                                      .stdin_once = true});
  std::vector<base::UniqueFd> clients;
  for (size_t i = 0; i < kClients; i++) {
    absl::StatusOr<base::UniqueFd> fd = lab_->Connect(spec).Attach(Lab::Soon(), false, true, true);
    ASSERT_TRUE(fd.ok()) << i << ": " << fd.status();
    clients.push_back(*std::move(fd));
  }
  EXPECT_LE(PssKilobytes(lab_->Connect(spec).state().monitor.pid), 120);
  for (size_t i = 0; i < kClients; i += 2) {
    clients[i].Reset();
  }
  ASSERT_TRUE(lab_->Connect(spec).CloseStdin(Lab::Soon()).ok());
  for (size_t i = 1; i < kClients; i += 2) {
    const std::string text = ReceiveAll(clients[i].get())[kStdout];
    ASSERT_TRUE(text.starts_with("1\n2\n") && text.ends_with("99\n100\n")) << i;
  }
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 0);
}

TEST_P(ContainerIoRootTest, SlowClientHoldsUpNobody) {
  const MonitorSpec spec = lab_->Run({.args = {"/bin/sh", "-c", "cat; seq 1 1000000; echo end"},
                                      .open_stdin = true,
                                      .stdin_once = true});
  absl::StatusOr<base::UniqueFd> slow = lab_->Connect(spec).Attach(Lab::Soon(), false, true, true);
  ASSERT_TRUE(slow.ok());
  ASSERT_TRUE(lab_->Connect(spec).CloseStdin(Lab::Soon()).ok());
  // It reads nothing until all is over.
  ASSERT_TRUE(lab_->AwaitLog(spec, "stdout F end"));
  EXPECT_EQ(lab_->AwaitExit(spec)->lost_log_bytes, 0u);
  const std::map<char, std::string> received = ReceiveAll(slow->get());
  EXPECT_GT(received.at(kStdout).size(), 100000u);
  EXPECT_LT(received.at(kStdout).size(), 4000000u);
  EXPECT_TRUE(received.at(kStdout).starts_with("1\n2\n3\n"));
}

TEST_P(ContainerIoRootTest, SkippedOutputIsTold) {
  const MonitorSpec spec = lab_->Run({.args = {"/bin/sh", "-c",
                                               "cat; seq 1 600000; echo middle; while ! test -e "
                                               "/tmp/go; do sleep 0.02; done; echo end"},
                                      .open_stdin = true,
                                      .stdin_once = true});
  absl::StatusOr<base::UniqueFd> slow = lab_->Connect(spec).Attach(Lab::Soon(), false, true, true);
  ASSERT_TRUE(slow.ok());
  ASSERT_TRUE(lab_->Connect(spec).CloseStdin(Lab::Soon()).ok());
  ASSERT_TRUE(lab_->AwaitLog(spec, "stdout F middle"));
  fcntl(slow->get(), F_SETFL, 0);
  uint64_t received = 0;
  uint64_t skipped = 0;
  std::string last;
  char packet[monitor_protocol::kMaxPacketBytes];
  for (ssize_t size; (size = recv(slow->get(), packet, sizeof(packet), 0)) > 0;) {
    if (packet[1] == kSkipped) {
      monitor_protocol::SkippedPacket what;
      memcpy(&what, packet, sizeof(what));
      skipped += what.bytes;
      (void)base::WriteFile(lab_->dir() + "/rootfs/tmp/go", "", 0644);
    } else if (packet[1] == kStdout) {
      received += static_cast<uint64_t>(size) - 2;
      last.assign(packet + 2, static_cast<size_t>(size) - 2);
    }
  }
  uint64_t written = 11;  // "middle\n" and "end\n"
  for (int i = 1; i <= 600000; i++) {
    written += fmt::format("{}\n", i).size();
  }
  EXPECT_GT(skipped, 0u);
  EXPECT_EQ(received + skipped, written);
  EXPECT_EQ(last, "end\n");
  ASSERT_TRUE(lab_->AwaitExit(spec).ok());
}

TEST_P(ContainerIoRootTest, LogIsReopenedUnderLoadWithoutLossOrDoubling) {
  const MonitorSpec spec =
      lab_->RunShell("i=0; while test $i -lt 60000; do echo $i; i=$((i+1)); done");
  MonitorConnection connection = lab_->Connect(spec);
  int rotations = 0;
  for (; rotations < 40; rotations++) {
    ASSERT_EQ(rename(spec.log_path.c_str(), fmt::format("{}.{}", spec.log_path, rotations).c_str()),
              0);
    if (const absl::Status status = connection.ReopenLog(Lab::Soon()); !status.ok()) {
      // It had ended: then the old file stays the last.
      rename(fmt::format("{}.{}", spec.log_path, rotations).c_str(), spec.log_path.c_str());
      break;
    }
    ASSERT_TRUE(base::PathExists(spec.log_path));
  }
  ASSERT_TRUE(lab_->AwaitExit(spec).ok());
  EXPECT_GT(rotations, 3);
  std::string text;
  for (int i = 0; i <= rotations; i++) {
    const std::string path =
        i == rotations ? spec.log_path : fmt::format("{}.{}", spec.log_path, i);
    for (const std::string& record : Lab::Records(base::ReadFile(path, 64 << 20).value_or(""))) {
      text += record.substr(9) + (record[7] == 'F' ? "\n" : "");
    }
  }
  std::string expected;
  for (int i = 0; i < 60000; i++) {
    expected += fmt::format("{}\n", i);
  }
  EXPECT_TRUE(text == expected) << text.size() << " of " << expected.size();
}

TEST_P(ContainerIoRootTest, LogStaysBelowItsLimit) {
  const MonitorSpec spec = lab_->Run({.args = {"/bin/seq", "1", "50000"}, .log_max_bytes = 100000});
  ASSERT_TRUE(lab_->AwaitExit(spec).ok());
  EXPECT_LE(lab_->LogText(spec).size(), 100000u);
  EXPECT_EQ(lab_->LogRecords(spec).back(), "stdout F 50000");
}

TEST_P(ContainerIoRootTest, FullDiskNeverStopsTheContainer) {
  const std::string disk = lab_->dir() + "/disk";
  ASSERT_EQ(mkdir(disk.c_str(), 0700), 0);
  ASSERT_EQ(mount("lab", disk.c_str(), "tmpfs", 0, "size=64k"), 0);
  MonitorSpec spec = lab_->Prepare({.args = {"/bin/sh", "-c", "seq 1 100000; exit 5"}});
  spec.log_path = disk + "/0.log";
  EXPECT_TRUE(lab_->Spawn(spec).ok());
  EXPECT_TRUE(lab_->runtime().Start(Lab::Soon(), spec.id).ok());
  const absl::StatusOr<ExitRecord> exit = lab_->AwaitExit(spec);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->code, 5);
  const std::vector<std::string> records = lab_->LogRecords(spec);  // no torn one
  uint64_t logged = 0;
  for (const std::string& record : records) {
    logged += record.size() - 9 + (record[7] == 'F' ? 1 : 0);
  }
  EXPECT_EQ(logged + exit->lost_log_bytes, 588895u);
  EXPECT_GT(exit->lost_log_bytes, 500000u);
  EXPECT_EQ(umount(disk.c_str()), 0);
}

TEST_P(ContainerIoRootTest, WithoutALogOutputIsDropped) {
  const MonitorSpec spec = lab_->Run({.args = {"/bin/seq", "1", "100000"}, .log = false});
  EXPECT_EQ(lab_->AwaitExit(spec)->code, 0);
}

}  // namespace
}  // namespace berth::runtime
