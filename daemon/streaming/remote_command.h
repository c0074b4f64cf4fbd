// RemoteCommand: the client's side of exec and attach: its streams, the terminal's sizes, and how
// the end is told. ExecSession and AttachSession are the other side.
//
// Begins when every wanted stream is there; the connection is closed when they are not within the
// creation timeout. In the end first all output goes out, then its end of file, then the outcome on
// the error stream.
// Threads: the event thread.
// Source: Kubernetes remotecommand protocols v1 to v5.
#pragma once

#include <memory>
#include <string>

#include "daemon/streaming/client_stream.h"
#include "daemon/streaming/fd_pump.h"
#include "daemon/streaming/session_context.h"
#include "daemon/streaming/status_text.h"
#include "daemon/streaming/upgrade.h"

namespace berth::streaming {

struct TerminalSize {
  uint16_t width = 0, height = 0;
};

// Cuts {"Width":80,"Height":24} texts out of a stream of them. A text that is none, or larger than
// kMaxResizeBytes, ends it: what follows is dropped.
class ResizeReader {
 public:
  // The last whole size in what has come.
  bool Read(std::string_view bytes, TerminalSize& size);

 private:
  std::string text_;
  bool broken_ = false;
};

class RemoteCommand : public Session {
 public:
  RemoteCommand(const SessionContext& context, Streams wanted, CommandProtocol protocol);
  ~RemoteCommand() override;

  void Start(std::weak_ptr<Client> client) override;
  bool OnStream(std::shared_ptr<ClientStream> stream, uint32_t id,
                const StreamHeaders& headers) override;
  void Tick(Clock::time_point now) override;
  void OnGone() override;

 protected:
  // Where input goes; it keeps what comes before Begin().
  virtual std::shared_ptr<StreamSink> MakeInput() = 0;
  // Every stream is there.
  virtual void Begin() = 0;
  virtual void Resize(TerminalSize size) = 0;
  // The client is gone, or all is said: lets go of descriptors.
  virtual void Release() = 0;

  const SessionContext& context() const { return context_; }
  const Streams& wanted() const { return wanted_; }
  // Null where not wanted.
  const std::shared_ptr<ClientStream>& in() const { return in_; }
  const std::shared_ptr<ClientStream>& out() const { return out_; }
  const std::shared_ptr<ClientStream>& err() const { return err_; }
  bool is_over() const { return over_; }
  // Ends output, tells the outcome, closes the connection. Once.
  void Finish(const Outcome& outcome);

 private:
  class ResizeSink;
  std::shared_ptr<ClientStream>* SlotFor(std::string_view type);
  bool HasAllStreams() const;

  const SessionContext& context_;
  const Streams wanted_;
  const CommandProtocol protocol_;
  const Clock::time_point started_ = Clock::now();
  std::weak_ptr<Client> client_;
  std::shared_ptr<ClientStream> in_, out_, err_, error_, resize_;
  std::shared_ptr<StreamSink> in_sink_;
  std::shared_ptr<ResizeSink> resize_sink_;
  bool begun_ = false;
  bool over_ = false;
};

}  // namespace berth::streaming
