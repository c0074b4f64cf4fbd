// Stdio: the container's standard input and output: pipes, or the terminal that the runtime sends
// over the console socket.
//
// Until the container is created, what comes out of the pipes is the runtime's and its hooks', kept
// as the error text; after that it is the container's, and goes to the log and to the attached
// clients. With a terminal all output is stdout, and the runtime itself prints into a pipe of its
// own.
#pragma once

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/monitor/log_writer.h"
#include "cmd/monitor/options.h"
#include "cmd/monitor/process.h"

namespace berth::monitor {

class Clients;

class Stdio {
 public:
  Stdio(const Options& options, LogWriter& log, Clients& clients)
      : options_(options), log_(log), clients_(clients) {}

  // Makes pipes or the console socket. 0 or an errno.
  int Open();
  // For the runtime's process; CloseChildFiles once it has them.
  const ChildFiles& child_files() const { return child_; }
  void CloseChildFiles();
  // Where the runtime connects to hand over the terminal; null without one.
  const char* console_path() const { return options_.tty ? console_path_ : nullptr; }

  // For the poll set: what to wait for now (fd -1: nothing).
  pollfd PollConsole() const { return {console_fd_, POLLIN, 0}; }
  pollfd PollOutput(Stream stream) const {
    return {stream == Stream::kStdout ? out_fd_ : err_fd_, POLLIN, 0};
  }
  pollfd PollInput() const { return {input_size_ > 0 ? in_fd_ : -1, POLLOUT, 0}; }

  // Reads the terminal's descriptor, when it has arrived.
  void OnConsole();
  // Moves what there is, up to a bound, to where it belongs.
  void OnOutput(Stream stream);
  void OnInput();

  // Called when `create` has succeeded: output is the container's from here on. False: the terminal
  // never came.
  bool BecomeContainers();
  // Called when the first process has ended: everything it wrote is read; others that hold the
  // pipes are not waited for.
  void Drain();

  // Last of what the runtime printed while creating.
  const char* error_text() const { return error_text_; }
  size_t error_size() const { return error_size_; }

  // Input of an attached client. False: the last one is not written yet; try when input_ready().
  bool QueueInput(const char* data, size_t size);
  bool input_ready() const { return input_size_ == 0; }
  bool input_open() const { return in_fd_ >= 0; }
  // After what is queued. ENOTTY with a terminal.
  int CloseInput();
  int Resize(uint16_t height, uint16_t width);

 private:
  static constexpr size_t kErrorBytes = 4096;

  int OpenPipes();
  int OpenConsole();
  int& OutputFd(Stream stream) { return stream == Stream::kStdout ? out_fd_ : err_fd_; }
  // Reads and passes on up to about `budget` bytes; until_empty: also when that takes many reads.
  void Move(Stream stream, size_t budget, bool until_empty);
  void Drain(Stream stream);
  void KeepError(const char* data, size_t size);
  void AdoptTerminal(int master);

  const Options& options_;
  LogWriter& log_;
  Clients& clients_;

  bool created_ = false;
  ChildFiles child_;
  int in_fd_ = -1;   // non-blocking, as all of these
  int out_fd_ = -1;  // the terminal, too (in_fd_ is a duplicate then)
  int err_fd_ = -1;  // with a terminal: the runtime's, until created
  int console_fd_ = -1;
  int slave_fd_ = -1;
  char console_path_[512];

  bool close_input_ = false;
  size_t input_size_ = 0;
  size_t input_at_ = 0;
  char input_[8192];

  size_t error_size_ = 0;
  char error_text_[kErrorBytes];
};

}  // namespace berth::monitor
