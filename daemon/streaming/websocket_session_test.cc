// Sessions over WebSocket, from the socket to descriptors.
#include <sys/ioctl.h>

#include <map>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "daemon/streaming/testing/serving_test.h"
#include "daemon/streaming/testing/websocket_client.h"
#include "daemon/streaming/websocket_connection.h"

namespace berth::streaming {
namespace {

using testing::HasSubstr;

class WebSocketSessionTest : public ServingTest {
 protected:
  // Until the server closes: what came on each channel.
  static std::map<int, std::string> ReadAll(WebSocketClient& client) {
    std::map<int, std::string> channels;
    while (const auto message = client.Next()) {
      if (message->opcode == WebSocketClient::kClose) {
        EXPECT_EQ(message->bytes, std::string("\x03\xe8", 2));  // 1000: normal
        client.Send(message->bytes, WebSocketClient::kClose);
        EXPECT_FALSE(client.Next().has_value());
        return channels;
      }
      channels[message->bytes.at(0)] += message->bytes.substr(1);
    }
    ADD_FAILURE() << "the connection ended without a close frame";
    return channels;
  }
  static std::string On(int channel, std::string_view bytes) {
    return std::string(1, static_cast<char>(channel)).append(bytes);
  }
};

TEST_F(WebSocketSessionTest, ACommandWithEverything) {
  WebSocketClient client(ExecUrl({true, true, true, false}), "v5.channel.k8s.io");
  EXPECT_THAT(client.answer, HasSubstr("101 Switching Protocols"));
  EXPECT_THAT(client.answer, HasSubstr("Sec-WebSocket-Protocol: v5.channel.k8s.io"));
  // An empty message tells that all is there.
  const auto greeting = client.Next();
  ASSERT_TRUE(greeting.has_value());
  EXPECT_EQ(greeting->opcode, WebSocketClient::kBinary);
  EXPECT_EQ(greeting->bytes, On(1, ""));
  auto process = backend_.NextProcess();
  client.Send(On(0, "in"), WebSocketClient::kBinary, false);
  client.Send("put", WebSocketClient::kContinuation);
  client.Send(On(9, "nobody's"));
  client.Send(On(1, "the wrong way"));
  client.Send(std::string("\xff\x00", 2));
  EXPECT_EQ(ReadSome(process->in.get()), "input");
  ASSERT_EQ(::write(process->out.get(), "out", 3), 3);
  ASSERT_EQ(::write(process->err.get(), "err", 3), 3);
  process->Exit(5);
  auto channels = ReadAll(client);
  EXPECT_EQ(channels[1], "out");
  EXPECT_EQ(channels[2], "err");
  EXPECT_THAT(channels[3], HasSubstr(R"("causes":[{"reason":"ExitCode","message":"5"}])"));
}

TEST_F(WebSocketSessionTest, Base64IsTextInBothDirections) {
  WebSocketClient client(ExecUrl({true, true, false, false}), "v4.base64.channel.k8s.io");
  EXPECT_EQ(client.Next()->bytes, "1");
  auto process = backend_.NextProcess();
  client.Send("0aGVsbG8=", WebSocketClient::kText);
  EXPECT_EQ(ReadSome(process->in.get(), 5), "hello");
  ASSERT_EQ(::write(process->out.get(), "hello", 5), 5);
  const auto message = client.Next();
  EXPECT_EQ(message->opcode, WebSocketClient::kText);
  EXPECT_EQ(message->bytes, "1aGVsbG8=");
  client.Send("0*", WebSocketClient::kText);
  EXPECT_TRUE(process->WaitKilled());
}

TEST_F(WebSocketSessionTest, WithoutAProtocolTheStatusIsText) {
  WebSocketClient client(ExecUrl({false, true, false, false}), "");
  EXPECT_THAT(client.answer, testing::Not(HasSubstr("Sec-WebSocket-Protocol")));
  backend_.NextProcess()->Exit(4);
  EXPECT_EQ(ReadAll(client)[3], "command terminated with non-zero exit code: exit status 4");
}

TEST_F(WebSocketSessionTest, ATerminalHasItsSize) {
  WebSocketClient client(ExecUrl({true, true, false, true}), "v4.channel.k8s.io");
  auto process = backend_.NextProcess();
  client.Send(On(4, R"({"Width":90,"Height":30})"));
  winsize size = {};
  for (int i = 0; i < 500 && size.ws_col != 90; ++i) {
    ASSERT_EQ(::ioctl(process->terminal.get(), TIOCGWINSZ, &size), 0);
    ::usleep(10'000);
  }
  EXPECT_EQ(size.ws_row, 30);
  process->Exit(0);
  EXPECT_THAT(ReadAll(client)[3], HasSubstr("Success"));
}

TEST_F(WebSocketSessionTest, MuchOutputComesWhole) {
  WebSocketClient client(ExecUrl({false, true, false, false}), "v4.channel.k8s.io");
  auto process = backend_.NextProcess();
  std::string text(8 << 20, '\0');
  for (size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<char>(i * 13 % 253);
  }
  std::thread writer([&] {
    for (size_t at = 0; at < text.size();) {
      const ssize_t wrote = ::write(process->out.get(), text.data() + at, text.size() - at);
      ASSERT_GT(wrote, 0);
      at += static_cast<size_t>(wrote);
    }
    process->Exit(0);
  });
  auto channels = ReadAll(client);
  writer.join();
  EXPECT_TRUE(channels[1] == text);
}

TEST_F(WebSocketSessionTest, PingsAreAnsweredAndAGoneClientKillsTheCommand) {
  WebSocketClient client(ExecUrl({false, true, false, false}), "v4.channel.k8s.io");
  EXPECT_EQ(client.Next()->bytes, On(1, ""));
  auto process = backend_.NextProcess();
  client.Send("are you there", WebSocketClient::kPing);
  const auto pong = client.Next();
  EXPECT_EQ(pong->opcode, WebSocketClient::kPong);
  EXPECT_EQ(pong->bytes, "are you there");
  client.raw().Close();
  EXPECT_TRUE(process->WaitKilled());
}

TEST_F(WebSocketSessionTest, ACloseFrameEndsTheCommand) {
  WebSocketClient client(ExecUrl({false, true, false, false}), "v4.channel.k8s.io");
  auto process = backend_.NextProcess();
  client.Send(std::string("\x03\xe8", 2), WebSocketClient::kClose);
  EXPECT_TRUE(process->WaitKilled());
}

TEST_F(WebSocketSessionTest, ACommandThatDoesNotReadHoldsTheClientBackAndItsEndIsSeen) {
  WebSocketClient client(ExecUrl({true, false, false, false}), "v4.channel.k8s.io");
  auto process = backend_.NextProcess();
  SetNonBlocking(client.raw().fd());
  const std::string frame = WebSocketClient::Frame(On(0, std::string(65536, 'x')));
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
  client.raw().Abort();
  EXPECT_TRUE(process->WaitKilled());
}

TEST_F(WebSocketSessionTest, PortsHaveTwoChannelsEach) {
  FakePod pod;
  const uint16_t closed = FakePod().port;
  WebSocketClient client(ForwardUrl({pod.port, closed}), "v4.channel.k8s.io");
  const auto number = [](uint16_t port) {
    return std::string{static_cast<char>(port & 0xff), static_cast<char>(port >> 8)};
  };
  EXPECT_EQ(client.Next()->bytes, On(0, number(pod.port)));
  EXPECT_EQ(client.Next()->bytes, On(1, number(pod.port)));
  EXPECT_EQ(client.Next()->bytes, On(2, number(closed)));
  EXPECT_EQ(client.Next()->bytes, On(3, number(closed)));
  const auto refused = client.Next();
  EXPECT_THAT(refused->bytes, HasSubstr("Connection refused"));
  EXPECT_EQ(refused->bytes[0], 3);
  base::UniqueFd connection = pod.Accept();
  client.Send(On(0, "ping"));
  EXPECT_EQ(ReadSome(connection.get(), 4), "ping");
  ASSERT_EQ(::write(connection.get(), "pong", 4), 4);
  EXPECT_EQ(client.Next()->bytes, On(0, "pong"));
  connection.Reset();
  ReadAll(client);  // the last one's end is the end
}

TEST_F(WebSocketSessionTest, APortThatThePodBreaksEndsToo) {
  FakePod pod;
  WebSocketClient client(ForwardUrl({pod.port}), "v4.channel.k8s.io");
  base::UniqueFd connection = pod.Accept();
  const linger hard = {1, 0};
  ::setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  connection.Reset();
  EXPECT_EQ(ReadAll(client)[1].size(), 2u);  // the port, and no words
}

}  // namespace
}  // namespace berth::streaming
