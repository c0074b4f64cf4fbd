// Exec over SPDY, from the socket to the command's descriptors.
#include "daemon/streaming/exec_session.h"

#include <sys/ioctl.h>

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "daemon/streaming/testing/serving_test.h"
#include "daemon/streaming/testing/spdy_client.h"

namespace berth::streaming {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class ExecSessionTest : public ServingTest {
 protected:
  std::string Url(Streams streams) { return ExecUrl(streams); }
};

TEST_F(ExecSessionTest, CarriesInputOutputErrorsAndTheExitCode) {
  SpdyClient client(Url({true, true, true, false}), "v4.channel.k8s.io");
  EXPECT_THAT(client.answer, HasSubstr("101 Switching Protocols"));
  EXPECT_THAT(client.answer, HasSubstr("X-Stream-Protocol-Version: v4.channel.k8s.io"));
  const uint32_t error = client.Open({{"streamtype", "error"}});
  const uint32_t in = client.Open({{"streamtype", "stdin"}});
  const uint32_t out = client.Open({{"streamtype", "stdout"}});
  client.Send(in, "early ");  // before the command was started
  const uint32_t err = client.Open({{"streamtype", "stderr"}});
  auto process = backend_.NextProcess();
  EXPECT_EQ(process->request.container_id, "c1");
  client.Send(in, "late");
  client.End(in);
  EXPECT_EQ(ReadSome(process->in.get()), "early late");

  ASSERT_EQ(::write(process->out.get(), "hello", 5), 5);
  ASSERT_EQ(::write(process->err.get(), "oh", 2), 2);
  process->Exit(3);
  ASSERT_TRUE(client.UntilEnded(error));
  EXPECT_TRUE(client.streams[error].replied && client.streams[in].replied);
  EXPECT_EQ(client.streams[out].data, "hello");
  EXPECT_EQ(client.streams[err].data, "oh");
  EXPECT_TRUE(client.streams[out].ended && client.streams[err].ended);
  EXPECT_EQ(json::parse(client.streams[error].data),
            json::parse(R"({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                            "message": "command terminated with non-zero exit code: exit status 3",
                            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}})"));
  EXPECT_TRUE(client.UntilClosed());
}

TEST_F(ExecSessionTest, SuccessAndSignalsAreToldInTheProtocolsForm) {
  const struct {
    std::string protocol;
    int code, signal;
    std::string expected;
  } cases[] = {
      {"v4.channel.k8s.io", 0, 0, R"({"metadata":{},"status":"Success"})"},
      {"v3.channel.k8s.io", 0, 0, ""},
      {"v3.channel.k8s.io", 7, 0, "command terminated with non-zero exit code: exit status 7"},
      {"v2.channel.k8s.io", 0, 9, "command terminated with non-zero exit code: exit status 137"},
      {"channel.k8s.io", 1, 0, "command terminated with non-zero exit code: exit status 1"},
  };
  for (const auto& c : cases) {
    SpdyClient client(Url({false, true, false, false}), c.protocol);
    const uint32_t error = client.Open({{"streamtype", "error"}});
    client.Open({{"streamtype", "stdout"}});
    backend_.NextProcess()->Exit(c.code, c.signal);
    ASSERT_TRUE(client.UntilEnded(error)) << c.protocol;
    EXPECT_EQ(client.streams[error].data, c.expected) << c.protocol;
  }
}

TEST_F(ExecSessionTest, AllOutputComesBeforeTheStatusAndNothingIsLost) {
  SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
  const uint32_t error = client.Open({{"streamtype", "error"}});
  const uint32_t out = client.Open({{"streamtype", "stdout"}});
  auto process = backend_.NextProcess();
  std::string text(8 << 20, 'x');
  for (size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<char>('a' + i * 7 % 23);
  }
  std::thread writer([&] {
    size_t at = 0;
    while (at < text.size()) {
      const ssize_t wrote = ::write(process->out.get(), text.data() + at, text.size() - at);
      ASSERT_GT(wrote, 0);
      at += static_cast<size_t>(wrote);
    }
    process->Exit(0);
  });
  ASSERT_TRUE(client.UntilEnded(error));
  writer.join();
  EXPECT_TRUE(client.streams[out].data == text);
  EXPECT_EQ(client.order.back(), error);
  const auto first_error = std::find(client.order.begin(), client.order.end(), error);
  EXPECT_EQ(std::find(first_error, client.order.end(), out), client.order.end());
}

TEST_F(ExecSessionTest, ASlowClientHoldsTheCommandBack) {
  SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
  client.Open({{"streamtype", "error"}});
  client.Open({{"streamtype", "stdout"}});
  auto process = backend_.NextProcess();
  SetNonBlocking(process->out.get());
  const std::string block(65536, 'x');
  size_t taken = 0;
  int full = 0;
  while (full < 10 && taken < (64 << 20)) {  // ends when nothing is taken for 200 ms
    const ssize_t wrote = ::write(process->out.get(), block.data(), block.size());
    if (wrote > 0) {
      taken += static_cast<size_t>(wrote);
      full = 0;
    } else {
      ++full;
      ::usleep(20'000);
    }
  }
  // What the kernel's socket buffers and one chunk hold.
  EXPECT_LT(taken, size_t{24} << 20);
}

TEST_F(ExecSessionTest, ACommandThatDoesNotReadHoldsTheClientBack) {
  SpdyClient client(Url({true, false, false, false}), "v4.channel.k8s.io");
  client.Open({{"streamtype", "error"}});
  const uint32_t in = client.Open({{"streamtype", "stdin"}});
  auto process = backend_.NextProcess();
  SetNonBlocking(client.raw().fd());
  const std::string frame = SpdyDataFrame(in, 0, std::string(65536, 'x'));
  size_t sent = 0;
  for (int full = 0; full < 10 && sent < (64 << 20);) {
    const size_t offset = sent % frame.size();
    const ssize_t got = ::send(client.raw().fd(), frame.data() + offset, frame.size() - offset, 0);
    if (got > 0) {
      sent += static_cast<size_t>(got);
      full = 0;
    } else {
      ++full;
      ::usleep(20'000);
    }
  }
  EXPECT_LT(sent, size_t{24} << 20);
  // The client's end is seen all the same, and ends the command.
  client.raw().Abort();
  EXPECT_TRUE(process->WaitKilled());
}

TEST_F(ExecSessionTest, AnEndBehindInputThatIsNotReadIsSeen) {
  SpdyClient client(Url({true, false, false, false}), "v4.channel.k8s.io");
  client.Open({{"streamtype", "error"}});
  const uint32_t in = client.Open({{"streamtype", "stdin"}});
  auto process = backend_.NextProcess();
  // More than the pipe and the session take, less than the socket does.
  client.Send(in, std::string(kMaxUnconsumedBytes + (160 << 10), 'x'));
  ::shutdown(client.raw().fd(), SHUT_WR);
  EXPECT_TRUE(process->WaitKilled());
}

TEST_F(ExecSessionTest, ATerminalCarriesBothDirectionsAndItsSize) {
  SpdyClient client(Url({true, true, false, true}), "v4.channel.k8s.io");
  const uint32_t error = client.Open({{"streamtype", "error"}});
  const uint32_t in = client.Open({{"streamtype", "stdin"}});
  const uint32_t out = client.Open({{"streamtype", "stdout"}});
  const uint32_t resize = client.Open({{"streamtype", "resize"}});
  client.Send(resize, "{\"Width\":132,\"Hei");
  client.Send(resize, "ght\":43}\n");
  auto process = backend_.NextProcess();
  client.Send(in, "echo\n");
  char line[16];
  ASSERT_EQ(::read(process->terminal.get(), line, sizeof(line)), 5);
  winsize size = {};
  ASSERT_EQ(::ioctl(process->terminal.get(), TIOCGWINSZ, &size), 0);
  EXPECT_EQ(size.ws_col, 132);
  EXPECT_EQ(size.ws_row, 43);
  client.End(in);  // a terminal has no such end: the command goes on
  client.Send(resize, "{\"Width\":80,\"Height\":24}\n");
  for (int i = 0; i < 500 && size.ws_col != 80; ++i) {
    ASSERT_EQ(::ioctl(process->terminal.get(), TIOCGWINSZ, &size), 0);
    ::usleep(10'000);
  }
  EXPECT_EQ(size.ws_col, 80);
  ASSERT_EQ(::write(process->terminal.get(), "bye\n", 4), 4);
  process->Exit(0);
  ASSERT_TRUE(client.UntilEnded(error));
  EXPECT_EQ(client.streams[out].data, "echo\r\nbye\r\n");
  EXPECT_THAT(client.streams[error].data, HasSubstr("Success"));
}

TEST_F(ExecSessionTest, AClientThatGoesKillsTheCommand) {
  SpdyClient client(Url({true, true, false, false}), "v4.channel.k8s.io");
  client.Open({{"streamtype", "error"}});
  client.Open({{"streamtype", "stdin"}});
  client.Open({{"streamtype", "stdout"}});
  auto process = backend_.NextProcess();
  client.raw().Close();
  EXPECT_TRUE(process->WaitKilled());
  EXPECT_EQ(ReadSome(process->in.get()), "");
}

TEST_F(ExecSessionTest, OutputHeldOpenByOthersIsNotWaitedFor) {
  SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
  const uint32_t error = client.Open({{"streamtype", "error"}});
  const uint32_t out = client.Open({{"streamtype", "stdout"}});
  auto process = backend_.NextProcess();
  const base::UniqueFd background(::dup(process->out.get()));
  ASSERT_EQ(::write(process->out.get(), "last words", 10), 10);
  process->Exit(0);
  ASSERT_TRUE(client.UntilEnded(error));
  EXPECT_EQ(client.streams[out].data, "last words");
}

TEST_F(ExecSessionTest, OthersWhoWriteOnAfterTheEndAreCutOff) {
  SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
  const uint32_t error = client.Open({{"streamtype", "error"}});
  client.Open({{"streamtype", "stdout"}});
  auto process = backend_.NextProcess();
  base::UniqueFd background(::dup(process->out.get()));
  std::thread writer([&] {
    ::signal(SIGPIPE, SIG_IGN);
    const std::string block(4096, 'y');
    while (::write(background.get(), block.data(), block.size()) > 0) {
    }
  });
  process->Exit(0);
  EXPECT_TRUE(client.UntilEnded(error));
  writer.join();
}

TEST_F(ExecSessionTest, InputBeyondWhatTheCommandReadsIsDropped) {
  SpdyClient client(Url({true, true, false, false}), "v4.channel.k8s.io");
  const uint32_t error = client.Open({{"streamtype", "error"}});
  const uint32_t in = client.Open({{"streamtype", "stdin"}});
  client.Open({{"streamtype", "stdout"}});
  auto process = backend_.NextProcess();
  process->in.Reset();
  const std::string block(1 << 20, 'x');
  for (int i = 0; i < 16; ++i) {
    client.Send(in, block);
  }
  process->Exit(0);
  ASSERT_TRUE(client.UntilEnded(error));
  EXPECT_THAT(client.streams[error].data, HasSubstr("Success"));
}

TEST_F(ExecSessionTest, WhatTheBackendRefusesIsToldOnTheErrorStream) {
  backend_.answer = absl::NotFoundError("exec: \"nosuch\" is not in $PATH");
  SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
  const uint32_t error = client.Open({{"streamtype", "error"}});
  client.Open({{"streamtype", "stdout"}});
  ASSERT_TRUE(client.UntilEnded(error));
  const json status = json::parse(client.streams[error].data);
  EXPECT_EQ(status["reason"], "InternalError");
  EXPECT_EQ(status["code"], 500);
  EXPECT_EQ(status["message"],
            "Internal error occurred: error executing command in container: exec: \"nosuch\" is "
            "not in $PATH");
}

TEST_F(ExecSessionTest, RunnersThatFailAreToldOnTheErrorStream) {
  using monitor_protocol::ExecOutcome;
  const monitor_protocol::Header header = {monitor_protocol::kVersion,
                                           monitor_protocol::PacketType::kExecReport};
  const struct {
    std::optional<monitor_protocol::ExecReportPacket> report;
    std::string text;
  } cases[] = {
      {{{header, ExecOutcome::kRuntimeFailed, 126, 0}},
       "runtime did not start it and ended with 126"},
      {{{header, ExecOutcome::kFailed, ENOENT, 0}}, "No such file or directory (2)"},
      {std::nullopt, "was killed before it ended"},
  };
  for (const auto& c : cases) {
    SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
    const uint32_t error = client.Open({{"streamtype", "error"}});
    client.Open({{"streamtype", "stdout"}});
    auto process = backend_.NextProcess();
    if (c.report) {
      process->Report(*c.report);
    } else {
      process->report.Reset();
      process->out.Reset();
    }
    ASSERT_TRUE(client.UntilEnded(error));
    EXPECT_THAT(client.streams[error].data, HasSubstr(c.text));
  }
}

TEST_F(ExecSessionTest, StreamsThatWereNotAskedForAreRefused) {
  SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
  const uint32_t in = client.Open({{"streamtype", "stdin"}});
  const uint32_t other = client.Open({{"streamtype", "gopher"}});
  const uint32_t error = client.Open({{"streamtype", "error"}});
  const uint32_t twice = client.Open({{"streamtype", "error"}});
  EXPECT_TRUE(client.UntilEnded(twice));
  EXPECT_TRUE(client.streams[in].reset && client.streams[other].reset &&
              client.streams[twice].reset);
  EXPECT_FALSE(client.streams[error].reset);
}

TEST_F(ExecSessionTest, StreamsThatDoNotComeEndTheConnection) {
  Serve({.creation_timeout = std::chrono::seconds(1)});
  SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
  client.Open({{"streamtype", "error"}});
  EXPECT_TRUE(client.UntilClosed());
}

TEST_F(ExecSessionTest, AnIdleSessionEndsAndPingsDoNotKeepIt) {
  Serve({.idle_timeout = std::chrono::seconds(2)});
  SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
  client.Open({{"streamtype", "error"}});
  const uint32_t out = client.Open({{"streamtype", "stdout"}});
  auto process = backend_.NextProcess();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 6; ++i) {  // data keeps it
    ::usleep(500'000);
    ASSERT_EQ(::write(process->out.get(), "x", 1), 1);
    ASSERT_TRUE(client.UntilData(out, static_cast<size_t>(i) + 1));
  }
  std::thread pings([fd = ::dup(client.raw().fd())] {
    const std::string ping = SpdyControlFrame(SpdyType::kPing, 1);
    while (::send(fd, ping.data(), ping.size(), MSG_NOSIGNAL) > 0) {
      ::usleep(200'000);
    }
    ::close(fd);
  });
  EXPECT_TRUE(process->WaitKilled());
  pings.join();
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GT(took, std::chrono::seconds(5));
  EXPECT_LT(took, std::chrono::seconds(8));
}

TEST_F(ExecSessionTest, StopEndsSessionsAndCallsThatHang) {
  SpdyClient client(Url({false, true, false, false}), "v4.channel.k8s.io");
  client.Open({{"streamtype", "error"}});
  client.Open({{"streamtype", "stdout"}});
  auto process = backend_.NextProcess();
  backend_.hang = true;
  SpdyClient hanging(Url({false, true, false, false}), "v4.channel.k8s.io");
  hanging.Open({{"streamtype", "error"}});
  const uint32_t out = hanging.Open({{"streamtype", "stdout"}});
  ASSERT_TRUE(hanging.Until([&] { return hanging.streams[out].replied; }));
  const auto start = std::chrono::steady_clock::now();
  server_->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
  EXPECT_TRUE(process->WaitKilled());
  EXPECT_FALSE(hanging.UntilClosed());
  server_->Stop();
}

TEST(ResizeReaderTest, SizesComeWholeAndBadOnesEndIt) {
  TerminalSize size;
  ResizeReader good;
  EXPECT_FALSE(good.Read("{\"Width\":", size));
  EXPECT_TRUE(good.Read("80,\"Height\":24}\n{\"Width\":1,\"Height\":2}", size));
  EXPECT_EQ(size.width, 1);
  EXPECT_EQ(size.height, 2);
  for (const char* bad :
       {"}", "[]}", "{\"Width\":-1,\"Height\":2}", "{\"Width\":65536,\"Height\":2}",
        "{\"Width\":\"a\",\"Height\":2}", "{\"Height\":2}"}) {
    ResizeReader reader;
    EXPECT_FALSE(reader.Read(bad, size)) << bad;
    EXPECT_FALSE(reader.Read("{\"Width\":1,\"Height\":2}", size)) << bad;
  }
  ResizeReader endless;
  EXPECT_FALSE(endless.Read(std::string(kMaxResizeBytes, ' '), size));
  EXPECT_FALSE(endless.Read("{\"Width\":1,\"Height\":2}", size));
}

}  // namespace
}  // namespace berth::streaming
