// Random and mutated input for everything that a client's bytes reach first: nothing may crash,
// grow, or be read beyond its end (run it under the asan preset). Seeds are fixed; a number of
// rounds in BERTH_FUZZ_ROUNDS makes it longer.
#include <stdlib.h>

#include <random>

#include "boost/beast/http/empty_body.hpp"
#include "boost/beast/http/parser.hpp"
#include "gtest/gtest.h"

#include "daemon/streaming/limits.h"
#include "daemon/streaming/remote_command.h"
#include "daemon/streaming/spdy_session.h"
#include "daemon/streaming/testing/serving_test.h"
#include "daemon/streaming/testing/spdy_client.h"
#include "daemon/streaming/testing/websocket_client.h"

namespace berth::streaming {
namespace {

int Rounds(int usual) {
  const char* const wish = ::getenv("BERTH_FUZZ_ROUNDS");
  return wish != nullptr ? std::atoi(wish) : usual;
}

class Noise {
 public:
  explicit Noise(unsigned seed) : random_(seed) {}
  size_t Below(size_t limit) { return random_() % limit; }
  std::string Bytes(size_t size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) {
      byte = static_cast<char>(random_());
    }
    return bytes;
  }
  // Some bits, bytes or lengths of it changed.
  std::string Mutate(std::string bytes) {
    for (size_t i = Below(4); i > 0 && !bytes.empty(); --i) {
      const size_t at = Below(bytes.size());
      switch (Below(4)) {
        case 0:
          bytes[at] = static_cast<char>(random_());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8)));
          break;
        case 2:
          bytes.erase(at, Below(8));
          break;
        case 3:
          bytes.insert(at, Bytes(Below(8)));
          break;
      }
    }
    return bytes;
  }

 private:
  std::mt19937 random_;
};

struct CountingWire : Wire {
  void Write(std::string_view, std::function<void()> written) override {
    written_.push_back(written);
  }
  void WriteFrame(std::string frame) override { bytes += frame.size(); }
  void OnConsumed() override {}
  void Flush() {
    std::vector<std::function<void()>> all;
    all.swap(written_);
    for (const auto& call : all) {
      call();
    }
  }
  size_t bytes = 0;

 private:
  std::vector<std::function<void()>> written_;
};

// Takes every stream, answers data with data, and forgets half of its streams.
struct BusySession : Session {
  struct Sink : StreamSink {
    explicit Sink(std::shared_ptr<ClientStream> stream) : stream_(std::move(stream)) {}
    void OnData(std::string_view bytes) override {
      stream_->Consumed(bytes.size());
      if (!sending_) {
        sending_ = true;
        Chunk chunk = Chunk::Make();
        chunk.size = 1 + bytes.size() % 1000;
        std::fill_n(chunk.data(), chunk.size, 'x');
        stream_->Send(std::move(chunk), [this](Chunk) { sending_ = false; });
      }
    }
    void OnEnd() override { stream_->CloseWrite(); }
    void OnReset() override { stream_->Reset(); }
    std::shared_ptr<ClientStream> stream_;
    bool sending_ = false;
  };
  void Start(std::weak_ptr<Client>) override {}
  bool OnStream(std::shared_ptr<ClientStream> stream, uint32_t id, const StreamHeaders&) override {
    if (id % 8 == 7) {
      return false;
    }
    sinks.push_back(std::make_shared<Sink>(stream));
    stream->SetSink(sinks.back());
    return true;
  }
  void Tick(Clock::time_point) override {}
  void OnGone() override {}
  std::vector<std::shared_ptr<Sink>> sinks;
};

std::string RandomFrame(Noise& noise, SpdyDeflater& deflater, uint32_t& next) {
  const uint32_t id = 1 + 2 * static_cast<uint32_t>(noise.Below(next / 2 + 2));
  const auto number = static_cast<uint32_t>(noise.Below(1 << 17));
  switch (noise.Below(10)) {
    case 0:
    case 1:
      next += 2;
      return SynStream(next - 2, noise.Below(16) == 0 ? kSpdyFin : 0,
                       deflater.Block({{"streamtype", "data"}, {"port", noise.Bytes(4)}}));
    case 2:
      return SpdyControlFrame(SpdyType::kRstStream, id, number % 12);
    case 3:
      return SpdyControlFrame(SpdyType::kWindowUpdate, noise.Below(3) == 0 ? 0 : id, number);
    case 4:
      return SpdyControlFrame(SpdyType::kPing, number);
    case 5: {
      std::string settings;
      wire_format::Put32(settings, 1);
      wire_format::Put32(settings, kSpdySettingInitialWindow);
      wire_format::Put32(settings, number);
      return SpdyControlFrame(SpdyType::kSettings, 0, settings);
    }
    default:
      return SpdyDataFrame(id, noise.Below(8) == 0 ? kSpdyFin : 0, noise.Bytes(noise.Below(2000)));
  }
}

TEST(HostileInputTest, SpdySessions) {
  size_t violations = 0;
  const int rounds = Rounds(3000);
  for (int round = 0; round < rounds; ++round) {
    Noise noise(static_cast<unsigned>(round));
    CountingWire wire;
    BusySession session;
    SpdyDeflater deflater;
    SpdySession spdy(wire, session);
    uint32_t next = 1;
    size_t received = 0;
    const bool mutate = round % 3 != 0;
    for (int i = 0; i < 40; ++i) {
      std::string frame = RandomFrame(noise, deflater, next);
      if (mutate && noise.Below(8) == 0) {
        frame = noise.Mutate(frame);
      }
      received += frame.size();
      // In two pieces, cut anywhere.
      const size_t cut = noise.Below(frame.size() + 1);
      if (!spdy.Receive(std::string_view(frame).substr(0, cut)).ok() ||
          !spdy.Receive(std::string_view(frame).substr(cut)).ok()) {
        ++violations;
        break;
      }
      if (noise.Below(2) == 0) {
        wire.Flush();
      }
      ASSERT_LE(spdy.open_streams(), kMaxStreams);
    }
    wire.Flush();
    ASSERT_LT(wire.bytes, 4 * received + 1000);
  }
  EXPECT_GT(violations, static_cast<size_t>(rounds) / 20);  // the noise does reach the checks
}

TEST(HostileInputTest, RandomBytesAsSpdy) {
  for (int round = 0; round < Rounds(20000); ++round) {
    Noise noise(static_cast<unsigned>(round));
    CountingWire wire;
    BusySession session;
    SpdySession spdy(wire, session);
    std::string bytes = noise.Bytes(noise.Below(200));
    if (bytes.size() > 4 && round % 2 == 0) {  // a control frame of some kind
      bytes.replace(0, 4, std::string("\x80\x03\x00", 3) + static_cast<char>(noise.Below(12)));
    }
    (void)spdy.Receive(bytes);
  }
}

TEST(HostileInputTest, HeaderBlocks) {
  for (int round = 0; round < Rounds(5000); ++round) {
    Noise noise(static_cast<unsigned>(round));
    SpdyDeflater deflater;
    SpdyHeaderReader reader;
    for (int i = 0; i < 3; ++i) {
      std::string block = round % 2 == 0
                              ? deflater.Block({{"streamtype", "data"}, {noise.Bytes(9), "x"}})
                              : deflater.Deflate(noise.Bytes(noise.Below(100)));
      if (!reader.Read(noise.Mutate(std::move(block))).ok()) {
        break;
      }
    }
  }
}

TEST(HostileInputTest, ChannelMessages) {
  struct Counter : ChannelReader::Visitor {
    void OnChannelData(uint8_t, std::string_view bytes) override { size += bytes.size(); }
    void OnChannelEnd(uint8_t) override {}
    size_t size = 0;
  };
  for (int round = 0; round < Rounds(20000); ++round) {
    Noise noise(static_cast<unsigned>(round));
    Counter counter;
    ChannelReader reader({round % 2 == 0, round % 3 == 0});
    size_t given = 0;
    for (int i = 0; i < 10; ++i) {
      const std::string message =
          noise.Below(2) == 0 ? noise.Bytes(noise.Below(50))
                              : noise.Mutate(Base64Message(1, noise.Bytes(noise.Below(50))));
      given += message.size();
      if (!reader.Read(message, noise.Below(3) == 0, counter).ok()) {
        break;
      }
    }
    ASSERT_LE(counter.size, given);
  }
}

TEST(HostileInputTest, UpgradeRequests) {
  namespace http = boost::beast::http;
  const std::string good =
      "GET /exec/0123456789abcdef0123456789abcdef?x=y HTTP/1.1\r\nHost: a\r\n"
      "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
      "Sec-WebSocket-Protocol: v5.channel.k8s.io, v4.channel.k8s.io\r\n"
      "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
  int accepted = 0;
  const int rounds = Rounds(20000);
  for (int round = 0; round < rounds; ++round) {
    Noise noise(static_cast<unsigned>(round));
    http::request_parser<http::empty_body> parser;
    parser.header_limit(kMaxRequestHeaderBytes);
    boost::system::error_code error;
    const std::string bytes = noise.Mutate(good);
    parser.put(boost::asio::buffer(bytes), error);
    if (error || !parser.is_header_done()) {
      continue;
    }
    const HttpRequest& request = parser.get();
    ParseTarget({request.target().data(), request.target().size()});
    const Upgrade upgrade = Negotiate(request, ExecRequest{});
    accepted += upgrade.kind == Upgrade::Kind::kWebSocket ? 1 : 0;
    // Nothing of the client's makes a line of its own in the answer.
    const std::string answer = HttpAnswer(upgrade.status, upgrade.reason, upgrade.headers);
    EXPECT_EQ(answer.find("\r\n\r\n"), answer.rfind("\r\n\r\n"));
  }
  EXPECT_GT(accepted, rounds / 4);
}

TEST(HostileInputTest, TerminalSizes) {
  for (int round = 0; round < Rounds(20000); ++round) {
    Noise noise(static_cast<unsigned>(round));
    ResizeReader reader;
    TerminalSize size;
    for (int i = 0; i < 5; ++i) {
      reader.Read(noise.Mutate(R"({"Width":80,"Height":24})"), size);
    }
  }
}

// The same at a server's door: after all of it, it serves.
class HostileClientTest : public ServingTest {};

TEST_F(HostileClientTest, TheServerOutlivesThemAll) {
  for (int round = 0; round < Rounds(300); ++round) {
    Noise noise(static_cast<unsigned>(round));
    SpdyDeflater deflater;
    if (round % 3 == 0) {
      RawClient client(ExecUrl({true, true, true, false}));
      client.Send(noise.Bytes(noise.Below(500)));
    } else if (round % 3 == 1) {
      SpdyClient client(round % 2 == 0 ? ForwardUrl() : ExecUrl({true, true, true, true}),
                        round % 2 == 0 ? "portforward.k8s.io" : "v4.channel.k8s.io");
      uint32_t next = 1;
      for (int i = 0; i < 20; ++i) {
        client.raw().Send(noise.Mutate(RandomFrame(noise, deflater, next)));
      }
    } else {
      WebSocketClient client(ExecUrl({true, true, true, true}), "v5.channel.k8s.io");
      for (int i = 0; i < 20; ++i) {
        const std::string frame =
            WebSocketClient::Frame(noise.Bytes(noise.Below(200)), WebSocketClient::kBinary);
        client.raw().Send(noise.Mutate(frame));
      }
    }
  }
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  const uint32_t error = client.Open({{"streamtype", "error"}, {"port", "1"}, {"requestid", "0"}});
  client.Open({{"streamtype", "data"}, {"port", "1"}, {"requestid", "0"}});
  EXPECT_TRUE(client.UntilEnded(error));
}

}  // namespace
}  // namespace berth::streaming
