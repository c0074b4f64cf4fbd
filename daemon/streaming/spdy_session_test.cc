#include "daemon/streaming/spdy_session.h"

#include <deque>

#include "gtest/gtest.h"

#include "daemon/streaming/limits.h"
#include "daemon/streaming/testing/spdy_client.h"

namespace berth::streaming {
namespace {

// Keeps what is written until it is taken.
struct FakeWire : Wire {
  struct Item {
    std::string bytes;
    std::function<void()> written;
  };
  void Write(std::string_view bytes, std::function<void()> written) override {
    items.push_back({std::string(bytes), std::move(written)});
  }
  void WriteFrame(std::string frame) override { items.push_back({std::move(frame), nullptr}); }
  void OnConsumed() override { ++consumed; }

  // What was written so far; its writers go on.
  std::string Take() {
    std::string all;
    for (size_t count = items.size(); count > 0; --count) {
      Item item = std::move(items.front());
      items.pop_front();
      all += item.bytes;
      if (item.written) {
        item.written();
      }
    }
    return all;
  }

  std::deque<Item> items;
  int consumed = 0;
};

struct FakeSink : StreamSink {
  void OnData(std::string_view bytes) override { data += bytes; }
  void OnEnd() override { ended = true; }
  void OnReset() override { reset = true; }
  std::string data;
  bool ended = false, reset = false;
};

struct FakeSession : Session {
  struct Opened {
    std::shared_ptr<ClientStream> stream;
    std::shared_ptr<FakeSink> sink;
    std::string type;
  };
  void Start(std::weak_ptr<Client>) override {}
  bool OnStream(std::shared_ptr<ClientStream> stream, uint32_t id,
                const StreamHeaders& headers) override {
    if (refuse) {
      return false;
    }
    auto sink = std::make_shared<FakeSink>();
    stream->SetSink(sink);
    opened[id] = {std::move(stream), std::move(sink), std::string(headers.Get("streamtype"))};
    return true;
  }
  void Tick(Clock::time_point) override {}
  void OnGone() override {}

  std::map<uint32_t, Opened> opened;
  bool refuse = false;
};

class SpdySessionTest : public testing::Test {
 protected:
  absl::Status Open(uint32_t id, uint8_t flags = 0) {
    return spdy_.Receive(SynStream(id, flags, deflater_.Block({{"streamtype", "data"}})));
  }
  void OpenAndForget(uint32_t id) {
    ASSERT_TRUE(Open(id).ok());
    wire_.Take();
  }
  Chunk ChunkOf(size_t size) {
    Chunk chunk = Chunk::Make();
    memset(chunk.data(), 'x', size);
    chunk.size = size;
    return chunk;
  }
  // What must be a violation, told by GOAWAY.
  void ExpectViolation(std::string_view bytes, std::string_view text) {
    const absl::Status status = spdy_.Receive(bytes);
    ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(std::string(status.message()).find(text), std::string::npos) << status;
    const std::string sent = wire_.Take();
    const std::string reason = SpdyControlFrame(SpdyType::kGoAway, 0, 1).substr(12);
    EXPECT_EQ(sent.substr(sent.size() - 16, 4), std::string("\x80\x03\x00\x07", 4));
    EXPECT_EQ(sent.substr(sent.size() - 4), reason);
  }
  std::string Reset(uint32_t id, SpdyReset reason) {
    return SpdyControlFrame(SpdyType::kRstStream, id, static_cast<uint32_t>(reason));
  }

  FakeWire wire_;
  FakeSession session_;
  SpdyDeflater deflater_;
  SpdySession spdy_{wire_, session_};
};

TEST_F(SpdySessionTest, AStreamIsAnsweredAndCarriesBothWays) {
  ASSERT_TRUE(Open(1).ok());
  EXPECT_EQ(wire_.Take().substr(0, 4), std::string("\x80\x03\x00\x02", 4));
  auto& opened = session_.opened[1];
  EXPECT_EQ(opened.type, "data");
  // In any pieces.
  for (const char byte : SpdyDataFrame(1, 0, "hello") + SpdyDataFrame(1, kSpdyFin, "!")) {
    ASSERT_TRUE(spdy_.Receive({&byte, 1}).ok());
  }
  EXPECT_EQ(opened.sink->data, "hello!");
  EXPECT_TRUE(opened.sink->ended);
  bool sent = false;
  opened.stream->Send(ChunkOf(3), [&](Chunk back) { sent = static_cast<bool>(back); });
  EXPECT_FALSE(sent);
  EXPECT_EQ(wire_.Take(), SpdyDataFrame(1, 0, "xxx"));
  EXPECT_TRUE(sent);
  opened.stream->SendText("bye");
  opened.stream->CloseWrite();
  EXPECT_EQ(wire_.Take(), SpdyDataFrame(1, 0, "bye") + SpdyDataFrame(1, kSpdyFin, ""));
  EXPECT_EQ(spdy_.open_streams(), 0u);
}

TEST_F(SpdySessionTest, TheEndWaitsForTheChunkBeforeIt) {
  OpenAndForget(1);
  auto stream = session_.opened[1].stream;
  stream->Send(ChunkOf(2), [](Chunk) {});
  stream->CloseWrite();
  EXPECT_EQ(wire_.Take(), SpdyDataFrame(1, 0, "xx"));
  EXPECT_EQ(wire_.Take(), SpdyDataFrame(1, kSpdyFin, ""));
  // What is sent after the end is swallowed, and its buffer comes back.
  bool sent = false;
  stream->Send(ChunkOf(2), [&](Chunk) { sent = true; });
  EXPECT_EQ(wire_.Take(), "");
  EXPECT_TRUE(sent);
}

TEST_F(SpdySessionTest, IdsAreOddAndGrow) {
  OpenAndForget(5);
  const std::string block = deflater_.Block({});
  ExpectViolation(SynStream(3, 0, block), "stream 3 is opened after stream 5");
}

TEST_F(SpdySessionTest, EvenIdsAreTheServers) {
  ExpectViolation(SynStream(2, 0, deflater_.Block({})), "ids are odd");
}

TEST_F(SpdySessionTest, TheSameIdTwiceIsAViolation) {
  OpenAndForget(1);
  ExpectViolation(SynStream(1, 0, deflater_.Block({})), "stream 1 is opened after stream 1");
}

TEST_F(SpdySessionTest, BadFramesAreViolations) {
  const struct {
    std::string frame, text;
  } cases[] = {
      {std::string("\x80\x02\x00\x01\x00\x00\x00\x00", 8), "SPDY version 2"},
      {std::string("\x80\x03\x00\x01\x00\xff\xff\xff", 8), "16777215 bytes, more than 16384"},
      {SpdyControlFrame(SpdyType::kSynStream, 0, "short"), "without its fixed part"},
      {SpdyControlFrame(SpdyType::kRstStream, 1), "RST_STREAM frame of 4 bytes"},
      {SpdyControlFrame(SpdyType::kPing, 1, 2), "PING frame of 8 bytes"},
      {SpdyControlFrame(SpdyType::kWindowUpdate, 1), "WINDOW_UPDATE frame of 4 bytes"},
      {SpdyControlFrame(SpdyType::kSettings, 2), "SETTINGS frame"},
      {SpdyControlFrame(SpdyType::kSettings, 0, ""), "SETTINGS frame"},
      {SpdyControlFrame(SpdyType::kSettings, 0xffffffff, 0), "SETTINGS frame"},
      {SpdyControlFrame(SpdyType::kHeaders, 0, "ab"), "without a stream"},
      {SynStream(1, 0, "no zlib"), "cannot be inflated"},
      {SpdyControlFrame(SpdyType::kWindowUpdate, 0, 0x7fffffff), "beyond 2^31 - 1"},
  };
  for (const auto& c : cases) {
    FakeWire wire;
    SpdySession spdy(wire, session_);
    const absl::Status status = spdy.Receive(c.frame);
    EXPECT_NE(std::string(status.message()).find(c.text), std::string::npos)
        << c.text << ": " << status;
    EXPECT_EQ(wire.Take(), SpdyControlFrame(SpdyType::kGoAway, 0, 1)) << c.text;
  }
}

TEST_F(SpdySessionTest, PingsAreAnsweredAndUnknownFramesSkipped) {
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(SpdyType::kPing, 7)).ok());
  EXPECT_EQ(wire_.Take(), SpdyControlFrame(SpdyType::kPing, 7));
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(SpdyType::kPing, 8)).ok());
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(static_cast<SpdyType>(99), 0, "whatever")).ok());
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(SpdyType::kGoAway, 0, 0)).ok());
  EXPECT_EQ(wire_.Take(), "");
}

TEST_F(SpdySessionTest, HeaderBlocksOfOtherFramesKeepTheStreamInStep) {
  std::string payload;
  wire_format::Put32(payload, 1);
  ASSERT_TRUE(
      spdy_
          .Receive(SpdyControlFrame(SpdyType::kHeaders, 0, payload + deflater_.Block({{"a", "b"}})))
          .ok());
  ASSERT_TRUE(Open(1).ok());
  EXPECT_EQ(session_.opened[1].type, "data");
}

TEST_F(SpdySessionTest, RefusedStreamsAreReset) {
  session_.refuse = true;
  ASSERT_TRUE(Open(1).ok());
  EXPECT_EQ(wire_.Take(), Reset(1, SpdyReset::kRefusedStream));
  session_.refuse = false;
  ASSERT_TRUE(Open(3, kSpdyUnidirectional).ok());
  EXPECT_EQ(wire_.Take(), Reset(3, SpdyReset::kProtocolError));
  EXPECT_EQ(spdy_.open_streams(), 0u);
}

TEST_F(SpdySessionTest, StreamsAreBounded) {
  for (uint32_t i = 0; i < kMaxStreams; ++i) {
    OpenAndForget(2 * i + 1);
  }
  const uint32_t next = 2 * kMaxStreams + 1;
  ASSERT_TRUE(Open(next).ok());
  EXPECT_EQ(wire_.Take(), Reset(next, SpdyReset::kRefusedStream));
  ASSERT_TRUE(spdy_.Receive(Reset(1, SpdyReset::kCancel)).ok());
  ASSERT_TRUE(Open(next + 2).ok());
  EXPECT_NE(wire_.Take(), Reset(next + 2, SpdyReset::kRefusedStream));
}

TEST_F(SpdySessionTest, AResetEndsBothDirections) {
  OpenAndForget(1);
  auto& opened = session_.opened[1];
  bool sent = false;
  opened.stream->Send(ChunkOf(1), [&](Chunk) { sent = true; });
  ASSERT_TRUE(spdy_.Receive(Reset(1, SpdyReset::kCancel)).ok());
  EXPECT_TRUE(opened.sink->reset);
  EXPECT_EQ(spdy_.open_streams(), 0u);
  wire_.Take();
  EXPECT_TRUE(sent);
  opened.stream->SendText("late");
  opened.stream->CloseWrite();
  opened.stream->Reset();
  EXPECT_EQ(wire_.Take(), "");
  // Data that was under way is dropped without a word.
  ASSERT_TRUE(spdy_.Receive(SpdyDataFrame(1, 0, "late")).ok());
  EXPECT_EQ(wire_.Take(), "");
  EXPECT_EQ(opened.sink->data, "");
}

TEST_F(SpdySessionTest, OurResetIsToldAndFreesTheSink) {
  OpenAndForget(1);
  session_.opened[1].stream->Reset();
  EXPECT_EQ(wire_.Take(), Reset(1, SpdyReset::kCancel));
  EXPECT_TRUE(session_.opened[1].sink->reset);
  session_.opened[1].stream->Reset();
  EXPECT_EQ(wire_.Take(), "");
}

TEST_F(SpdySessionTest, DataForWrongStreamsIsReset) {
  OpenAndForget(1);
  ASSERT_TRUE(spdy_.Receive(SpdyDataFrame(3, 0, "x")).ok());
  EXPECT_EQ(wire_.Take(), Reset(3, SpdyReset::kInvalidStream));
  ASSERT_TRUE(spdy_.Receive(SpdyDataFrame(1, kSpdyFin, "x") + SpdyDataFrame(1, 0, "y")).ok());
  EXPECT_EQ(wire_.Take(), Reset(1, SpdyReset::kStreamAlreadyClosed));
  EXPECT_EQ(session_.opened[1].sink->data, "x");
}

TEST_F(SpdySessionTest, FinInTheOpeningFrameIsAnEnd) {
  ASSERT_TRUE(Open(1, kSpdyFin).ok());
  EXPECT_TRUE(session_.opened[1].sink->ended);
}

TEST_F(SpdySessionTest, ConsumedBytesOpenTheClientsWindows) {
  OpenAndForget(1);
  const std::string data(40 << 10, 'x');
  ASSERT_TRUE(spdy_.Receive(SpdyDataFrame(1, 0, data)).ok());
  EXPECT_EQ(spdy_.unconsumed(), data.size());
  EXPECT_EQ(wire_.Take(), "");
  session_.opened[1].stream->Consumed(1000);
  EXPECT_EQ(wire_.Take(), "");
  session_.opened[1].stream->Consumed(data.size() - 1000);
  EXPECT_EQ(wire_.Take(), SpdyControlFrame(SpdyType::kWindowUpdate, 0, 40 << 10) +
                              SpdyControlFrame(SpdyType::kWindowUpdate, 1, 40 << 10));
  EXPECT_EQ(spdy_.unconsumed(), 0u);
  EXPECT_EQ(wire_.consumed, 2);
  // Without a sink everything is consumed at once.
  session_.opened[1].sink.reset();
  ASSERT_TRUE(spdy_.Receive(SpdyDataFrame(1, 0, data)).ok());
  EXPECT_EQ(spdy_.unconsumed(), 0u);
}

TEST_F(SpdySessionTest, WithoutSettingsThereIsNoSendWindow) {
  OpenAndForget(1);
  for (int i = 0; i < 10; ++i) {
    session_.opened[1].stream->Send(ChunkOf(kChunkBytes), [](Chunk) {});
    EXPECT_EQ(wire_.Take().size(), kChunkBytes + 8);
  }
}

TEST_F(SpdySessionTest, TheClientsWindowsAreKeptOnceItHasAny) {
  std::string settings;
  wire_format::Put32(settings, 1);
  wire_format::Put32(settings, kSpdySettingInitialWindow);
  wire_format::Put32(settings, 10);
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(SpdyType::kSettings, 0, settings)).ok());
  OpenAndForget(1);
  auto stream = session_.opened[1].stream;
  bool sent = false;
  stream->Send(ChunkOf(25), [&](Chunk) { sent = true; });
  stream->CloseWrite();
  EXPECT_EQ(wire_.Take(), SpdyDataFrame(1, 0, std::string(10, 'x')));
  EXPECT_EQ(wire_.Take(), "");
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(SpdyType::kWindowUpdate, 1, 5)).ok());
  EXPECT_EQ(wire_.Take(), SpdyDataFrame(1, 0, std::string(5, 'x')));
  EXPECT_FALSE(sent);
  // A larger initial window is for streams that are there too.
  settings.clear();
  wire_format::Put32(settings, 1);
  wire_format::Put32(settings, kSpdySettingInitialWindow);
  wire_format::Put32(settings, 100);
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(SpdyType::kSettings, 0, settings)).ok());
  EXPECT_EQ(wire_.Take(), SpdyDataFrame(1, 0, std::string(10, 'x')));
  EXPECT_TRUE(sent);
  EXPECT_EQ(wire_.Take(), SpdyDataFrame(1, kSpdyFin, ""));
}

TEST_F(SpdySessionTest, TheSessionsWindowIsSharedByItsStreams) {
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(SpdyType::kSettings, 0)).ok());
  OpenAndForget(1);
  OpenAndForget(3);
  session_.opened[1].stream->Send(ChunkOf(kChunkBytes), [](Chunk) {});
  session_.opened[3].stream->Send(ChunkOf(10), [](Chunk) {});
  EXPECT_EQ(wire_.Take().size(), kChunkBytes + 8);
  EXPECT_EQ(wire_.Take(), "");
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(SpdyType::kWindowUpdate, 0, 10)).ok());
  EXPECT_EQ(wire_.Take(), SpdyDataFrame(3, 0, std::string(10, 'x')));
}

TEST_F(SpdySessionTest, AWindowBeyondItsLimitResetsTheStream) {
  OpenAndForget(1);
  ASSERT_TRUE(spdy_.Receive(SpdyControlFrame(SpdyType::kWindowUpdate, 1, 0x7fffffff)).ok());
  EXPECT_EQ(wire_.Take(), Reset(1, SpdyReset::kFlowControlError));
}

TEST_F(SpdySessionTest, StreamsOutliveTheSession) {
  std::shared_ptr<ClientStream> stream;
  {
    FakeWire wire;
    SpdySession spdy(wire, session_);
    SpdyDeflater deflater;
    ASSERT_TRUE(spdy.Receive(SynStream(1, 0, deflater.Block({}))).ok());
    stream = session_.opened[1].stream;
  }
  stream->Send(ChunkOf(1), [](Chunk) { ADD_FAILURE(); });
  stream->SendText("x");
  stream->CloseWrite();
  stream->Reset();
  stream->Consumed(1);
}

}  // namespace
}  // namespace berth::streaming
