// PortForward over SPDY, from the socket to sockets that stand for a pod's.
#include "daemon/streaming/port_forward.h"

#include <dirent.h>

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "daemon/streaming/testing/serving_test.h"
#include "daemon/streaming/testing/spdy_client.h"
#include "daemon/streaming/testing/websocket_client.h"

namespace berth::streaming {
namespace {

using testing::HasSubstr;

size_t OpenDescriptors() {
  DIR* const dir = ::opendir("/proc/self/fd");
  size_t count = 0;
  while (::readdir(dir) != nullptr) {
    ++count;
  }
  ::closedir(dir);
  return count;
}

class PortForwardTest : public ServingTest {
 protected:
  struct Pair {
    uint32_t error, data;
  };
  Pair Open(SpdyClient& client, uint16_t port, std::string_view request) {
    const std::string text = std::to_string(port);
    Pair pair;
    pair.error = client.Open({{"streamtype", "error"}, {"port", text}, {"requestid", request}});
    client.End(pair.error);
    pair.data = client.Open({{"streamtype", "data"}, {"port", text}, {"requestid", request}});
    return pair;
  }
  // A port that nobody listens on.
  static uint16_t ClosedPort() { return FakePod().port; }
};

TEST_F(PortForwardTest, EachSideMayEndAlone) {
  FakePod pod;
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const Pair pair = Open(client, pod.port, "0");
  client.Send(pair.data, "request");
  client.End(pair.data);
  const base::UniqueFd connection = pod.Accept();
  EXPECT_EQ(ReadSome(connection.get()), "request");  // up to the end
  ASSERT_EQ(::write(connection.get(), "answer", 6), 6);
  ASSERT_TRUE(client.UntilData(pair.data, 6));
  EXPECT_FALSE(client.streams[pair.data].ended);
  ::shutdown(connection.get(), SHUT_WR);
  ASSERT_TRUE(client.UntilEnded(pair.data));
  ASSERT_TRUE(client.UntilEnded(pair.error));
  EXPECT_EQ(client.streams[pair.data].data, "answer");
  EXPECT_EQ(client.streams[pair.error].data, "");

  // The pod first.
  const Pair second = Open(client, pod.port, "1");
  const base::UniqueFd other = pod.Accept();
  ::shutdown(other.get(), SHUT_WR);
  ASSERT_TRUE(client.UntilEnded(second.data));
  EXPECT_FALSE(client.streams[second.data].reset);
  client.Send(second.data, "still taken");
  client.End(second.data);
  EXPECT_EQ(ReadSome(other.get()), "still taken");
}

TEST_F(PortForwardTest, ManyConnectionsAtOnceCarryTheirOwnBytes) {
  FakePod pod;
  std::thread echo([&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 50; ++i) {
      threads.emplace_back([connection = pod.Accept()] {
        const std::string text = ReadSome(connection.get());
        size_t at = 0;
        while (at < text.size()) {
          const ssize_t wrote = ::write(connection.get(), text.data() + at, text.size() - at);
          ASSERT_GT(wrote, 0);
          at += static_cast<size_t>(wrote);
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  });
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  std::vector<Pair> pairs;
  for (int i = 0; i < 50; ++i) {
    pairs.push_back(Open(client, pod.port, std::to_string(i)));
  }
  for (int i = 0; i < 50; ++i) {
    client.Send(pairs[i].data, std::string(100000, static_cast<char>('A' + i)));
    client.End(pairs[i].data);
  }
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(client.UntilEnded(pairs[i].data)) << i;
    EXPECT_TRUE(client.streams[pairs[i].data].data ==
                std::string(100000, static_cast<char>('A' + i)))
        << i;
    ASSERT_TRUE(client.UntilEnded(pairs[i].error));
  }
  echo.join();
}

TEST_F(PortForwardTest, APortThatNobodyListensOnIsToldAndTheRestGoesOn) {
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const uint16_t port = ClosedPort();
  const Pair pair = Open(client, port, "0");
  const std::string block(1 << 20, 'x');
  for (int i = 0; i < 8; ++i) {
    client.Send(pair.data, block);  // drained, and not kept
  }
  ASSERT_TRUE(client.UntilEnded(pair.error));
  EXPECT_EQ(client.streams[pair.error].data,
            "error forwarding port " + std::to_string(port) +
                " to pod pod1: connect to localhost in the pod's network namespace: Connection "
                "refused (111)");
  EXPECT_TRUE(client.UntilEnded(pair.data));
  client.End(pair.data);
  FakePod pod;
  const Pair next = Open(client, pod.port, "0");  // the same request again
  const base::UniqueFd connection = pod.Accept();
  ASSERT_EQ(::write(connection.get(), "hi", 2), 2);
  EXPECT_TRUE(client.UntilData(next.data, 2));
}

TEST_F(PortForwardTest, Ipv6IsTriedAfterIpv4) {
  FakePod pod(AF_INET6);
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const Pair pair = Open(client, pod.port, "0");
  const base::UniqueFd connection = pod.Accept();
  client.Send(pair.data, "six");
  client.End(pair.data);
  EXPECT_EQ(ReadSome(connection.get()), "six");

  backend_.has_ipv6 = false;
  const Pair none = Open(client, pod.port, "1");
  ASSERT_TRUE(client.UntilEnded(none.error));
  EXPECT_THAT(client.streams[none.error].data, HasSubstr("Connection refused"));
}

TEST_F(PortForwardTest, AConnectionThatThePodBreaksIsResetWithoutWords) {
  FakePod pod;
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const Pair pair = Open(client, pod.port, "0");
  base::UniqueFd connection = pod.Accept();
  const linger hard = {1, 0};
  ::setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  connection.Reset();
  ASSERT_TRUE(client.UntilEnded(pair.error));
  ASSERT_TRUE(client.UntilEnded(pair.data));
  EXPECT_TRUE(client.streams[pair.data].reset);
  EXPECT_EQ(client.streams[pair.error].data, "");
}

TEST_F(PortForwardTest, AResetOfTheClientsClosesThePodsConnection) {
  FakePod pod;
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const Pair pair = Open(client, pod.port, "0");
  const base::UniqueFd connection = pod.Accept();
  client.raw().Send(SpdyControlFrame(SpdyType::kRstStream, pair.data, 5));
  EXPECT_EQ(ReadSome(connection.get()), "");
  ASSERT_TRUE(client.UntilEnded(pair.error));
}

TEST_F(PortForwardTest, NothingIsLeftOfManyConnectionsAndFailures) {
  FakePod pod;
  const uint16_t closed = ClosedPort();
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const Pair first = Open(client, closed, "first");
  ASSERT_TRUE(client.UntilEnded(first.error));
  const size_t before = OpenDescriptors();
  for (int i = 0; i < 600; ++i) {  // more streams than may be open at once
    const Pair failed = Open(client, closed, "f" + std::to_string(i));
    client.Send(failed.data, "x");
    ASSERT_TRUE(client.UntilEnded(failed.error));
    client.End(failed.data);
    const Pair pair = Open(client, pod.port, "p" + std::to_string(i));
    base::UniqueFd connection = pod.Accept();
    client.Send(pair.data, "x");
    if (i % 2 == 0) {
      client.End(pair.data);
      connection.Reset();
    } else {
      client.raw().Send(SpdyControlFrame(SpdyType::kRstStream, pair.data, 5));
    }
    ASSERT_TRUE(client.UntilEnded(pair.error)) << i;
  }
  for (int i = 0; i < 100 && OpenDescriptors() > before; ++i) {
    ::usleep(10'000);
  }
  EXPECT_LE(OpenDescriptors(), before);
}

TEST_F(PortForwardTest, APodThatDoesNotReadHoldsTheClientBack) {
  FakePod pod;
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const Pair pair = Open(client, pod.port, "0");
  const base::UniqueFd connection = pod.Accept();
  SetNonBlocking(client.raw().fd());
  const std::string frame = SpdyDataFrame(pair.data, 0, std::string(65536, 'x'));
  size_t sent = 0;
  for (int full = 0; full < 10 && sent < (128 << 20);) {
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
  EXPECT_LT(sent, size_t{64} << 20);
}

TEST_F(PortForwardTest, StreamsWithoutSenseAreRefused) {
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  std::vector<uint32_t> refused;
  refused.push_back(client.Open({{"streamtype", "stdin"}, {"port", "80"}, {"requestid", "1"}}));
  for (const char* port : {"0", "65536", "-1", "http", ""}) {
    refused.push_back(client.Open({{"streamtype", "data"}, {"port", port}, {"requestid", "1"}}));
  }
  const uint32_t good = client.Open({{"streamtype", "error"}, {"port", "80"}, {"requestid", "1"}});
  refused.push_back(client.Open({{"streamtype", "error"}, {"port", "80"}, {"requestid", "1"}}));
  refused.push_back(client.Open({{"streamtype", "data"}, {"port", "81"}, {"requestid", "1"}}));
  for (const uint32_t id : refused) {
    EXPECT_TRUE(client.UntilEnded(id));
    EXPECT_TRUE(client.streams[id].reset);
  }
  EXPECT_FALSE(client.streams[good].reset);
}

TEST_F(PortForwardTest, ClientsWithoutRequestIdsArePairedByStreamIds) {
  FakePod pod;
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const std::string port = std::to_string(pod.port);
  client.Open({{"streamtype", "error"}, {"port", port}});
  const uint32_t data = client.Open({{"streamtype", "data"}, {"port", port}});
  const base::UniqueFd connection = pod.Accept();
  ASSERT_EQ(::write(connection.get(), "old", 3), 3);
  EXPECT_TRUE(client.UntilData(data, 3));
}

TEST_F(PortForwardTest, HalfAPairIsGivenUp) {
  Serve({.creation_timeout = std::chrono::seconds(1)});
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const uint32_t error = client.Open({{"streamtype", "error"}, {"port", "80"}, {"requestid", "1"}});
  ASSERT_TRUE(client.UntilEnded(error));
  EXPECT_THAT(client.streams[error].data, HasSubstr("timed out waiting for the data stream"));
}

TEST_F(PortForwardTest, WhatTheBackendRefusesIsTold) {
  backend_.answer = absl::FailedPreconditionError("pod 'pod1' is not ready");
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const Pair pair = Open(client, 80, "0");
  ASSERT_TRUE(client.UntilEnded(pair.error));
  EXPECT_THAT(client.streams[pair.error].data,
              HasSubstr("error forwarding port 80 to pod pod1: pod 'pod1' is not ready"));
}

TEST_F(PortForwardTest, SpdyInsideAWebSocket) {
  FakePod pod;
  WebSocketClient client(ForwardUrl(), "SPDY/3.1+portforward.k8s.io");
  EXPECT_THAT(client.answer, HasSubstr("101 Switching Protocols"));
  EXPECT_THAT(client.answer, HasSubstr("Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io"));
  SpdyDeflater deflater;
  const std::string port = std::to_string(pod.port);
  const auto open = [&](uint32_t id, std::string_view type) {
    return SynStream(id, 0,
                     deflater.Block({{"streamtype", type}, {"port", port}, {"requestid", "0"}}));
  };
  // Messages have nothing to do with frames.
  client.Send(open(1, "error"));
  const std::string frames = open(3, "data") + SpdyDataFrame(3, 0, "request");
  client.Send(frames.substr(0, 5), WebSocketClient::kBinary, false);
  client.Send(frames.substr(5, 20), WebSocketClient::kContinuation);
  client.Send(frames.substr(25));
  const base::UniqueFd connection = pod.Accept();
  EXPECT_EQ(ReadSome(connection.get(), 7), "request");
  ASSERT_EQ(::write(connection.get(), "answer", 6), 6);
  const std::string expected = SpdyDataFrame(3, 0, "answer");
  std::string got;
  while (got.find(expected) == std::string::npos) {
    const auto message = client.Next();
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->opcode, WebSocketClient::kBinary);
    got += message->bytes;
  }
  client.Send("\x03\xe8", WebSocketClient::kClose);
  EXPECT_EQ(ReadSome(connection.get()), "");  // the session has ended with it
}

}  // namespace
}  // namespace berth::streaming
