// The seam between the protocols (SPDY, WebSocket) and the sessions (exec, attach, port-forward):
// a connected client, the streams in it, and the session that serves them.
//
// Threads: all of it on the server's event thread.
// Ownership: the connection owns its streams and its session; a session holds streams with
// shared_ptr and may use them after the connection is gone: then nothing happens.
// Back-pressure: to the client by Send's answer, one chunk at a time for each stream; from the
// client by Consumed(): a connection is not read while too much (kMaxUnconsumedBytes) is not
// consumed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/streaming/limits.h"

namespace berth::streaming {

// A buffer for one read, with room before the bytes for a frame's header, so that header and
// bytes leave in one piece without a copy.
class Chunk {
 public:
  static constexpr size_t kHeadroom = 16;

  Chunk() = default;  // none
  static Chunk Make() {
    Chunk chunk;
    chunk.bytes_.reset(new char[kHeadroom + kChunkBytes]);
    return chunk;
  }
  explicit operator bool() const { return bytes_ != nullptr; }
  char* data() { return bytes_.get() + kHeadroom; }

  size_t size = 0;  // bytes in use from data() on, at most kChunkBytes

 private:
  std::unique_ptr<char[]> bytes_;
};

// Takes what comes from the client on one stream. It takes all of it, at once.
class StreamSink {
 public:
  virtual ~StreamSink() = default;
  virtual void OnData(std::string_view bytes) = 0;
  virtual void OnEnd() = 0;    // the client sends no more
  virtual void OnReset() = 0;  // the client wants nothing more of this stream, in either direction
};

class ClientStream {
 public:
  using Sent = std::function<void(Chunk)>;

  virtual ~ClientStream() = default;
  // Where input goes from now on. The sink is borrowed weakly; without one input is dropped.
  virtual void SetSink(std::weak_ptr<StreamSink> sink) = 0;
  // Sends chunk's bytes; one chunk at a time. `sent` gives the buffer back when the socket has
  // taken them; never within the call. A stream that is closed swallows the bytes; on a connection
  // that is gone `sent` is not called.
  virtual void Send(Chunk chunk, Sent sent) = 0;
  // Sends a short text (an error, a status): not held back.
  virtual void SendText(std::string_view text) = 0;
  // End of file to the client, after what was sent.
  virtual void CloseWrite() = 0;
  // Ends both directions at once; what was not sent yet is lost.
  virtual void Reset() = 0;
  // Of the bytes given to the sink so many are done with.
  virtual void Consumed(size_t bytes) = 0;
};

// What a client says when it opens a stream, names in lower case (Kubernetes: `streamtype`, for
// port forwarding `port` and `requestid`).
class StreamHeaders {
 public:
  void Add(std::string name, std::string value) {
    values_.emplace_back(std::move(name), std::move(value));
  }
  // Empty when absent.
  std::string_view Get(std::string_view name) const {
    for (const auto& [key, value] : values_) {
      if (key == name) {
        return value;
      }
    }
    return {};
  }
  size_t size() const { return values_.size(); }

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

// A connected client, as its session sees it.
class Client {
 public:
  virtual ~Client() = default;
  // All that was sent goes out, then the connection is closed.
  virtual void Close() = 0;
};

// What is behind one connection.
class Session {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~Session() = default;
  // Called once, before everything else. The client outlives the session or ends it by OnGone.
  virtual void Start(std::weak_ptr<Client> client) = 0;
  // A stream that the client opens, numbered in the order of opening. False: refused.
  virtual bool OnStream(std::shared_ptr<ClientStream> stream, uint32_t id,
                        const StreamHeaders& headers) = 0;
  // Every kTick: time limits.
  virtual void Tick(Clock::time_point now) = 0;
  // The client is gone: lets go of everything. Called once, at the end.
  virtual void OnGone() = 0;
};

}  // namespace berth::streaming
