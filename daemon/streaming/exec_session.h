// ExecSession: a command in a container, between its descriptors and a client.
//
// Ends when the command has ended and what it wrote is sent: what others who hold its pipes write
// later is not waited for. A client that goes away before kills the command, by closing `report`.
// Threads: the event thread; the Backend is called on its own threads.
// Source: CRI v1 Exec.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "daemon/streaming/remote_command.h"

namespace berth::streaming {

class ExecSession : public RemoteCommand {
 public:
  ExecSession(const SessionContext& context, ExecRequest request, CommandProtocol protocol);
  ~ExecSession() override { Release(); }

 private:
  std::shared_ptr<StreamSink> MakeInput() override;
  void Begin() override;
  void Resize(TerminalSize size) override;
  void Release() override;

  void OnStarted(absl::StatusOr<ExecProcess> started);
  std::shared_ptr<FdReader> ReadFrom(SharedFd fd, const std::shared_ptr<ClientStream>& to);
  void WaitForReport();
  void OnReport();
  void FinishIfDone();

  const ExecRequest request_;
  // Callbacks hold it weakly: gone with the session.
  const std::shared_ptr<ExecSession*> self_;
  BackendCalls::Cancelled call_;
  std::shared_ptr<FdWriter> input_;
  std::shared_ptr<FdReader> out_reader_, err_reader_;
  SharedFd terminal_, report_;
  int open_outputs_ = 0;
  std::optional<TerminalSize> size_;  // the last that the client told
  std::optional<Outcome> outcome_;    // once the command has ended
};

}  // namespace berth::streaming
