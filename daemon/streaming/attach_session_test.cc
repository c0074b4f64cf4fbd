// Attach over SPDY, from the socket to the monitor's packets.
#include "daemon/streaming/attach_session.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "daemon/streaming/testing/serving_test.h"
#include "daemon/streaming/testing/spdy_client.h"

namespace berth::streaming {
namespace {

using monitor_protocol::kMaxDataBytes;
using monitor_protocol::PacketType;
using testing::HasSubstr;

class AttachSessionTest : public ServingTest {
 protected:
  // Opens what is asked for; the ids are in the order error, stdin, stdout, stderr, resize.
  std::unique_ptr<SpdyClient> Attach(Streams streams) {
    auto client = std::make_unique<SpdyClient>(AttachUrl(streams), "v4.channel.k8s.io");
    error_ = client->Open({{"streamtype", "error"}});
    if (streams.in) {
      in_ = client->Open({{"streamtype", "stdin"}});
    }
    if (streams.out) {
      out_ = client->Open({{"streamtype", "stdout"}});
    }
    if (streams.err) {
      err_ = client->Open({{"streamtype", "stderr"}});
    }
    if (streams.tty) {
      resize_ = client->Open({{"streamtype", "resize"}});
    }
    return client;
  }
  void Packet(PacketType type, std::string_view body) {
    std::string packet = {static_cast<char>(monitor_protocol::kVersion), static_cast<char>(type)};
    packet += body;
    ASSERT_EQ(::send(monitor_.get(), packet.data(), packet.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(packet.size()));
  }
  // The next packet from the server; empty at the end.
  std::string NextPacket() {
    char buffer[monitor_protocol::kMaxPacketBytes + 1];
    const ssize_t size = ::recv(monitor_.get(), buffer, sizeof(buffer), 0);
    return size > 0 ? std::string(buffer, static_cast<size_t>(size)) : "";
  }
  static std::string Expected(PacketType type, std::string_view body) {
    std::string packet = {static_cast<char>(monitor_protocol::kVersion), static_cast<char>(type)};
    return packet.append(body);
  }

  base::UniqueFd monitor_;
  uint32_t error_ = 0, in_ = 0, out_ = 0, err_ = 0, resize_ = 0;
};

TEST_F(AttachSessionTest, OutputOfBothKindsInputAndTheEnd) {
  auto client = Attach({true, true, true, false});
  monitor_ = backend_.NextMonitor();
  std::string out, err;
  for (int i = 0; i < 300; ++i) {
    const std::string text = std::to_string(i) + std::string(kMaxDataBytes - 10, 'o');
    Packet(PacketType::kStdout, text);
    out += text;
    if (i % 3 == 0) {
      Packet(PacketType::kStderr, "e" + std::to_string(i));
      err += "e" + std::to_string(i);
    }
  }
  // Packets that say nothing to a client.
  Packet(PacketType::kAnswer, "xxxxx");
  Packet(PacketType::kSkipped, "12345678");
  Packet(PacketType::kSkipped, "");
  ASSERT_EQ(::send(monitor_.get(), "x", 1, 0), 1);
  ASSERT_TRUE(client->UntilData(out_, out.size()));
  ASSERT_TRUE(client->UntilData(err_, err.size()));
  EXPECT_TRUE(client->streams[out_].data == out);
  EXPECT_EQ(client->streams[err_].data, err);

  client->Send(in_, "hello");
  EXPECT_EQ(NextPacket(), Expected(PacketType::kStdin, "hello"));
  client->End(in_);
  EXPECT_EQ(NextPacket(), Expected(PacketType::kStdinEnd, ""));
  Packet(PacketType::kStdout, "bye");
  monitor_.Reset();
  ASSERT_TRUE(client->UntilEnded(error_));
  EXPECT_EQ(client->streams[out_].data.substr(out.size()), "bye");
  EXPECT_TRUE(client->streams[out_].ended && client->streams[err_].ended);
  EXPECT_EQ(client->streams[error_].data, R"({"metadata":{},"status":"Success"})");
  EXPECT_TRUE(client->UntilClosed());
}

TEST_F(AttachSessionTest, MuchInputIsCutIntoPacketsAndHeldBack) {
  auto client = Attach({true, false, false, false});
  monitor_ = backend_.NextMonitor();
  std::string text(2 << 20, '\0');
  for (size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<char>(i * 31 % 251);
  }
  std::thread sender([&] {
    client->Send(in_, text);
    client->End(in_);
  });
  std::string got;
  while (true) {
    const std::string packet = NextPacket();
    ASSERT_GE(packet.size(), 2u);
    if (static_cast<PacketType>(packet[1]) == PacketType::kStdinEnd) {
      break;
    }
    EXPECT_LE(packet.size(), kMaxDataBytes + 2);
    got += packet.substr(2);
  }
  sender.join();
  EXPECT_TRUE(got == text);
}

TEST_F(AttachSessionTest, SizesGoBeforeInputAndOnlyTheLastCounts) {
  auto client =
      std::make_unique<SpdyClient>(AttachUrl({true, true, false, true}), "v4.channel.k8s.io");
  const uint32_t resize = client->Open({{"streamtype", "resize"}});
  client->Send(resize, R"({"Width":1,"Height":1}{"Width":80,"Height":24})");
  const uint32_t in = client->Open({{"streamtype", "stdin"}});
  client->Send(in, "first");
  client->Open({{"streamtype", "stdout"}});
  client->Open({{"streamtype", "error"}});
  monitor_ = backend_.NextMonitor();
  EXPECT_EQ(NextPacket(), Expected(PacketType::kResize, std::string("\x18\0\x50\0", 4)));
  EXPECT_EQ(NextPacket(), Expected(PacketType::kStdin, "first"));
}

TEST_F(AttachSessionTest, AClientThatGoesClosesTheConnectionToTheMonitor) {
  auto client = Attach({true, true, true, false});
  monitor_ = backend_.NextMonitor();
  client->raw().Close();
  EXPECT_EQ(NextPacket(), "");
}

TEST_F(AttachSessionTest, ASlowClientIsNotReadFor) {
  auto client = Attach({false, true, false, false});
  monitor_ = backend_.NextMonitor();
  const std::string packet = Expected(PacketType::kStdout, std::string(kMaxDataBytes, 'x'));
  size_t taken = 0;
  for (int full = 0; full < 10 && taken < (64 << 20);) {
    if (::send(monitor_.get(), packet.data(), packet.size(), MSG_DONTWAIT) > 0) {
      taken += packet.size();
      full = 0;
    } else {
      ++full;
      ::usleep(20'000);
    }
  }
  EXPECT_LT(taken, size_t{24} << 20);
}

TEST_F(AttachSessionTest, WhatTheBackendRefusesIsToldOnTheErrorStream) {
  backend_.answer = absl::FailedPreconditionError("container 'c1' is not running");
  auto client = Attach({false, true, false, false});
  ASSERT_TRUE(client->UntilEnded(error_));
  EXPECT_THAT(client->streams[error_].data,
              HasSubstr("error attaching to container: container 'c1' is not running"));
}

}  // namespace
}  // namespace berth::streaming
