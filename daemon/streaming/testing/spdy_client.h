// SpdyClient: the client's end of SPDY/3.1, blocking, with its headers really deflated. For tests
// only.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zlib.h"

#include "daemon/streaming/spdy_frames.h"
#include "daemon/streaming/spdy_headers.h"
#include "daemon/streaming/testing/raw_client.h"
#include "daemon/streaming/wire_format.h"

namespace berth::streaming {

using HeaderList = std::initializer_list<std::pair<std::string_view, std::string_view>>;

// Deflates header blocks as zlib does with the draft's dictionary.
class SpdyDeflater {
 public:
  SpdyDeflater() {
    EXPECT_EQ(deflateInit(&zlib_, Z_BEST_COMPRESSION), Z_OK);
    const std::string& dictionary = SpdyDictionary();
    EXPECT_EQ(deflateSetDictionary(&zlib_, reinterpret_cast<const Bytef*>(dictionary.data()),
                                   static_cast<uInt>(dictionary.size())),
              Z_OK);
  }
  ~SpdyDeflater() { deflateEnd(&zlib_); }

  std::string Deflate(std::string_view text) {
    std::string out(text.size() + 4096, '\0');
    zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    zlib_.avail_in = static_cast<uInt>(text.size());
    zlib_.next_out = reinterpret_cast<Bytef*>(out.data());
    zlib_.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&zlib_, Z_SYNC_FLUSH), Z_OK);
    out.resize(out.size() - zlib_.avail_out);
    return out;
  }
  std::string Block(HeaderList headers) {
    std::string text;
    wire_format::Put32(text, static_cast<uint32_t>(headers.size()));
    for (const auto& [name, value] : headers) {
      wire_format::Put32(text, static_cast<uint32_t>(name.size()));
      text += name;
      wire_format::Put32(text, static_cast<uint32_t>(value.size()));
      text += value;
    }
    return Deflate(text);
  }

 private:
  z_stream zlib_ = {};
};

inline std::string SynStream(uint32_t id, uint8_t flags, std::string_view block) {
  std::string payload;
  wire_format::Put32(payload, id);
  wire_format::Put32(payload, 0);
  payload += std::string_view("\0\0", 2);
  payload += block;
  return SpdyControlFrame(SpdyType::kSynStream, flags, payload);
}

class SpdyClient : private SpdyFrameReader::Visitor {
 public:
  struct Stream {
    std::string data;
    bool replied = false, ended = false, reset = false;
  };

  // Asks for the upgrade with one protocol; `answer` has the header that came.
  SpdyClient(const std::string& url, std::string_view protocol) : raw_(url) {
    std::string rest;
    answer = raw_.Ask("POST",
                      "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: " +
                          std::string(protocol) + "\r\n",
                      rest);
    EXPECT_TRUE(frames_.Read(rest, *this).ok());
  }

  RawClient& raw() { return raw_; }
  uint32_t Open(HeaderList headers, uint8_t flags = 0) {
    const uint32_t id = next_id_;
    next_id_ += 2;
    raw_.Send(SynStream(id, flags, deflater_.Block(headers)));
    return id;
  }
  void Send(uint32_t stream, std::string_view bytes, uint8_t flags = 0) {
    raw_.Send(SpdyDataFrame(stream, flags, bytes));
  }
  void End(uint32_t stream) { Send(stream, {}, kSpdyFin); }

  // Reads until `done`; false when the connection ended before.
  template <typename Done>
  bool Until(Done done) {
    while (!done()) {
      const std::string bytes = raw_.Receive();
      if (bytes.empty()) {
        return done();
      }
      EXPECT_TRUE(frames_.Read(bytes, *this).ok());
    }
    return true;
  }
  bool UntilEnded(uint32_t stream) {
    return Until([&] { return streams[stream].ended || streams[stream].reset; });
  }
  bool UntilData(uint32_t stream, size_t size) {
    return Until([&] { return streams[stream].data.size() >= size; });
  }
  // The server closed the connection in an orderly way.
  bool UntilClosed() {
    while (true) {
      const std::string bytes = raw_.Receive();
      if (bytes.empty()) {
        return gone_away == 0;
      }
      EXPECT_TRUE(frames_.Read(bytes, *this).ok());
    }
  }

  std::string answer;
  std::map<uint32_t, Stream> streams;
  std::vector<uint32_t> order;  // streams of data frames, as they came
  std::vector<uint32_t> pings;
  int gone_away = -1;  // GOAWAY's reason

 private:
  absl::Status OnControl(uint16_t type, uint8_t, std::string_view payload) override {
    const uint32_t first = wire_format::Get32(payload.data());
    switch (static_cast<SpdyType>(type)) {
      case SpdyType::kSynReply: {
        const auto headers = inflater_.Read(payload.substr(4));
        EXPECT_TRUE(headers.ok()) << headers.status();
        streams[first].replied = true;
        break;
      }
      case SpdyType::kRstStream:
        streams[first].reset = true;
        break;
      case SpdyType::kPing:
        pings.push_back(first);
        break;
      case SpdyType::kGoAway:
        gone_away = static_cast<int>(wire_format::Get32(payload.data() + 4));
        break;
      default:
        break;
    }
    return absl::OkStatus();
  }
  absl::Status OnData(uint32_t id, uint8_t flags, std::string_view piece, bool last) override {
    streams[id].data += piece;
    order.push_back(id);
    if (last && (flags & kSpdyFin) != 0) {
      streams[id].ended = true;
    }
    return absl::OkStatus();
  }

  RawClient raw_;
  SpdyDeflater deflater_;
  SpdyHeaderReader inflater_;
  SpdyFrameReader frames_;
  uint32_t next_id_ = 1;
};

}  // namespace berth::streaming
