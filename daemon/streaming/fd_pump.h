// FdReader and FdWriter: between a descriptor (pipe, terminal, socket) and a client's stream, each
// in one direction.
//
// Memory: a reader has a buffer only while there is something to carry; a writer keeps what the
// descriptor has not taken, which the connection bounds (Consumed).
// Threads: the event thread. Ownership: they share the descriptor with each other and with their
// session; Stop lets go of it, and afterwards no callback runs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "boost/asio/posix/stream_descriptor.hpp"

#include "daemon/streaming/client_stream.h"
#include "lib/base/unique_fd.h"

namespace berth::streaming {

using SharedFd = std::shared_ptr<boost::asio::posix::stream_descriptor>;

// Puts a non-blocking descriptor under the event thread's epoll. Null where there is none, or the
// kernel refuses.
SharedFd WatchFd(boost::asio::io_context& io, base::UniqueFd fd);

// Bytes that wait for room, in order.
class PendingBytes {
 public:
  void Append(std::string_view bytes) {
    if (begin_ > 0 && begin_ >= bytes_.size() / 2) {
      bytes_.erase(0, begin_);
      begin_ = 0;
    }
    bytes_.append(bytes);
  }
  std::string_view view() const { return std::string_view(bytes_).substr(begin_); }
  bool empty() const { return begin_ == bytes_.size(); }
  void RemovePrefix(size_t bytes) {
    begin_ += bytes;
    if (empty()) {
      Clear();
    }
  }
  // Gives the memory back: idle sessions keep none.
  void Clear() {
    bytes_ = std::string();
    begin_ = 0;
  }

 private:
  std::string bytes_;
  size_t begin_ = 0;
};

class FdReader : public std::enable_shared_from_this<FdReader> {
 public:
  // to: null drops what is read, so that nobody waits for it.
  // on_end: end of file (0) or the error that reading has met; called once, never within Start.
  FdReader(SharedFd fd, std::shared_ptr<ClientStream> to, std::function<void(int error)> on_end)
      : fd_(std::move(fd)), to_(std::move(to)), on_end_(std::move(on_end)) {}

  void Start() { WaitReadable(); }
  // The writer has ended: what is there now is the rest. Others who hold the descriptor may add
  // kMaxDrainBytes at most.
  void Drain();
  // on_end is no longer called.
  void Stop() {
    fd_ = nullptr;
    on_end_ = nullptr;
    to_ = nullptr;  // a stream that is still sending for us holds us
  }

 private:
  void WaitReadable();
  // chunk: a buffer to use again, or none.
  void Read(Chunk chunk);
  void OnSent(Chunk back);
  void End(int error);

  SharedFd fd_;
  std::shared_ptr<ClientStream> to_;
  std::function<void(int)> on_end_;
  bool sending_ = false;
  bool draining_ = false;
  size_t drained_ = 0;
};

class FdWriter : public StreamSink, public std::enable_shared_from_this<FdWriter> {
 public:
  enum class AtEnd {
    kClose,     // the descriptor is closed: a pipe's reader sees the end of file
    kShutdown,  // shutdown(2) for writing: a socket
    kNothing,   // a terminal, which has no such end
  };
  explicit FdWriter(std::shared_ptr<ClientStream> from) : from_(std::move(from)) {}
  ~FdWriter() override { Stop(); }

  // Until then input is kept. on_end: the client's end was passed on (0), or writing has failed and
  // what comes is dropped from then on; called once.
  void Start(SharedFd fd, AtEnd at_end, std::function<void(int error)> on_end);
  // The client has reset the stream (also before Start).
  void OnResetCall(std::function<void()> on_reset) { on_reset_ = std::move(on_reset); }
  // Drops what is left and what comes.
  void Stop();

  void OnData(std::string_view bytes) override;
  void OnEnd() override;
  void OnReset() override;

 private:
  // Bytes taken by the descriptor.
  size_t Write(std::string_view bytes);
  void WriteLeft();
  void WaitWritable();
  void End(int error);
  void FinishIfEnded();

  const std::shared_ptr<ClientStream> from_;
  SharedFd fd_;
  AtEnd at_end_ = AtEnd::kNothing;
  std::function<void(int)> on_end_;
  std::function<void()> on_reset_;
  PendingBytes left_;
  bool waiting_ = false;
  bool ended_ = false;  // by the client
  bool dropping_ = false;
};

}  // namespace berth::streaming
