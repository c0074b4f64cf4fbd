// AttachSession: a container's own streams, between its monitor and a client.
//
// A slow client is not waited for: what it does not read stays in the socket, and the monitor skips
// what does not fit there. Ends when the container does; a client that goes away leaves it alone.
// Threads: the event thread; the Backend is called on its own threads.
// Source: CRI v1 Attach; lib/monitor_protocol/protocol.h.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "daemon/streaming/remote_command.h"

namespace berth::streaming {

// Input and sizes to a monitor, packet by packet.
class MonitorWriter : public StreamSink, public std::enable_shared_from_this<MonitorWriter> {
 public:
  // from: the stream of input, null without one.
  explicit MonitorWriter(std::shared_ptr<ClientStream> from) : from_(std::move(from)) {}
  ~MonitorWriter() override { Stop(); }

  // Until then what comes is kept.
  void Start(SharedFd monitor);
  void Stop();
  // Only the last size counts.
  void Resize(TerminalSize size);

  void OnData(std::string_view bytes) override;
  void OnEnd() override;
  void OnReset() override { OnEnd(); }

 private:
  enum class Sent { kYes, kLater, kNever };
  Sent SendPacket(uint8_t type, std::string_view body);
  void Pump();

  const std::shared_ptr<ClientStream> from_;
  SharedFd monitor_;
  PendingBytes left_;
  TerminalSize size_;
  bool has_size_ = false;
  bool ended_ = false;
  bool waiting_ = false;
  bool dropping_ = false;
};

class AttachSession : public RemoteCommand {
 public:
  AttachSession(const SessionContext& context, AttachRequest request, CommandProtocol protocol);
  ~AttachSession() override { Release(); }

 private:
  std::shared_ptr<StreamSink> MakeInput() override;
  void Begin() override;
  void Resize(TerminalSize size) override;
  void Release() override;

  void OnAttached(absl::StatusOr<Attachment> attached);
  void WaitReadable();
  void Read(Chunk chunk);
  // Packets of one kind of output, as many as there are and fit; the first of the other kind waits
  // in next_.
  Chunk ReadOutput(Chunk chunk, std::shared_ptr<ClientStream>& to);
  void Send(Chunk chunk, const std::shared_ptr<ClientStream>& to);

  const AttachRequest request_;
  const std::shared_ptr<AttachSession*> self_;  // see ExecSession
  BackendCalls::Cancelled call_;
  SharedFd monitor_;
  std::shared_ptr<MonitorWriter> writer_;
  std::optional<TerminalSize> size_;  // the last that the client told
  Chunk next_;
  std::shared_ptr<ClientStream> next_to_;
  bool ended_ = false;  // the monitor has closed the connection
};

}  // namespace berth::streaming
