// SpdyWorld: a SpdySession between a wire that counts and a session that answers data with data.
// Checks what must hold whatever a client sends.
#pragma once

#include <vector>

#include "daemon/streaming/limits.h"
#include "daemon/streaming/spdy_session.h"
#include "lib/base/status.h"

namespace berth::streaming {

class SpdyWorld : private Wire, private Session {
 public:
  // False: the client broke the protocol.
  bool Receive(std::string_view bytes) {
    received_ += bytes.size();
    const bool good = spdy_.Receive(bytes).ok();
    BERTH_CHECK(spdy_.open_streams() <= kMaxStreams);
    // Frames of the server's own are in proportion to what came (the largest is a SYN_REPLY, 30
    // bytes, for a SYN_STREAM of 20 at least), data is what was asked for, and nothing is kept.
    BERTH_CHECK(frame_bytes_ <= 4 * received_ + 100);
    BERTH_CHECK(spdy_.unconsumed() <= received_);
    if (received_ / 512 % 2 == 0) {
      Flush();
    }
    return good;
  }
  void Flush() {
    std::vector<std::function<void()>> all;
    all.swap(written_);
    for (const auto& call : all) {
      call();
    }
  }
  SpdySession& spdy() { return spdy_; }

 private:
  struct Sink : StreamSink {
    Sink(std::shared_ptr<ClientStream> client_stream, uint32_t stream_id)
        : stream(std::move(client_stream)), id(stream_id) {}
    void OnData(std::string_view bytes) override {
      // Some leave what came, some take it.
      if (id % 4 == 1) {
        stream->Consumed(bytes.size());
      }
      if (!sending) {
        sending = true;
        Chunk chunk = Chunk::Make();
        chunk.size = 1 + bytes.size() % kChunkBytes;
        std::fill_n(chunk.data(), chunk.size, 'x');
        stream->Send(std::move(chunk), [this](Chunk) { sending = false; });
      }
    }
    void OnEnd() override { stream->CloseWrite(); }
    void OnReset() override { stream->Reset(); }
    const std::shared_ptr<ClientStream> stream;
    const uint32_t id;
    bool sending = false;
  };

  void Write(std::string_view, std::function<void()> written) override {
    written_.push_back(std::move(written));
  }
  void WriteFrame(std::string frame) override { frame_bytes_ += frame.size(); }
  void OnConsumed() override {}

  void Start(std::weak_ptr<Client>) override {}
  bool OnStream(std::shared_ptr<ClientStream> stream, uint32_t id,
                const StreamHeaders& headers) override {
    BERTH_CHECK(headers.size() <= kMaxHeaders);
    if (id % 16 == 15) {
      return false;
    }
    sinks_.push_back(std::make_shared<Sink>(stream, id));
    stream->SetSink(sinks_.back());
    return true;
  }
  void Tick(Clock::time_point) override {}
  void OnGone() override {}

  std::vector<std::function<void()>> written_;
  size_t received_ = 0;
  size_t frame_bytes_ = 0;
  std::vector<std::shared_ptr<Sink>> sinks_;
  SpdySession spdy_{*this, *this};
};

}  // namespace berth::streaming
