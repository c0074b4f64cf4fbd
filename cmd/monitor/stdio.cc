#include "cmd/monitor/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/monitor/clients.h"
#include "cmd/monitor/scratch.h"
#include "cmd/monitor/text.h"
#include "cmd/monitor/unix_socket.h"

namespace berth::monitor {
namespace {

// A pipe holds 64 KiB: one turn of the loop empties it, and a container that never stops writing
// cannot keep others waiting.
constexpr size_t kBudget = 64 << 10;
// More than a pipe (fs.pipe-max-size, unless the administrator raised it) or a terminal holds.
constexpr size_t kLargestPipe = 1 << 20;

// One read's worth after one incomplete line.
char* const buffer = scratch;
static_assert(kScratchBytes >= 2 * LogWriter::kMaxText);

void CloseFd(int& fd) {
  if (fd >= 0) {
    close(fd);
    fd = -1;
  }
}

void SetNonBlocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

// Makes a pipe of which only our end does not block: the container's programs expect theirs to.
int MakePipe(int* ours, int* childs, bool child_reads) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return errno;
  }
  *ours = ends[child_reads ? 1 : 0];
  *childs = ends[child_reads ? 0 : 1];
  SetNonBlocking(*ours);
  return 0;
}

}  // namespace

int Stdio::Open() {
  if (const int error = OpenPipes(); error != 0) {
    return error;
  }
  if (options_.stdio_uid != 0 || options_.stdio_gid != 0) {
    const int pipes[] = {out_fd_, err_fd_, in_fd_};
    for (const int fd : pipes) {
      if (fd >= 0 && fchown(fd, static_cast<uid_t>(options_.stdio_uid),
                            static_cast<gid_t>(options_.stdio_gid)) != 0) {
        return errno;
      }
    }
  }
  return options_.tty ? OpenConsole() : 0;
}

int Stdio::OpenPipes() {
  if (options_.tty) {
    child_.in = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int error = MakePipe(&err_fd_, &child_.err, false);
    child_.out = child_.err;
    return child_.in < 0 ? errno : error;
  }
  int error = MakePipe(&out_fd_, &child_.out, false);
  if (error == 0) {
    error = MakePipe(&err_fd_, &child_.err, false);
  }
  if (error == 0 && options_.open_stdin) {
    return MakePipe(&in_fd_, &child_.in, true);
  }
  if (error == 0) {
    child_.in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    error = child_.in < 0 ? errno : 0;
  }
  return error;
}

int Stdio::OpenConsole() {
  TextBuffer<4096> path;
  path.Add(options_.socket).Add(".tty");
  if (path.overflowed()) {
    return ENAMETOOLONG;
  }
  const int error =
      ListenUnix(path.c_str(), SOCK_STREAM, &console_fd_, console_path_, sizeof(console_path_));
  return error;
}

void Stdio::CloseChildFiles() {
  if (child_.out == child_.err) {
    child_.out = -1;
  }
  CloseFd(child_.in);
  CloseFd(child_.out);
  CloseFd(child_.err);
}

void Stdio::OnConsole() {
  const int master = ReceiveTerminal(console_fd_);
  if (master >= 0 && out_fd_ < 0) {
    AdoptTerminal(master);
  } else if (master >= 0) {
    close(master);
  }
}

void Stdio::AdoptTerminal(int master) {
  SetNonBlocking(master);
  out_fd_ = master;
  in_fd_ = fcntl(master, F_DUPFD_CLOEXEC, 3);
  slave_fd_ = HoldTerminal(master);  // a hangup would wake us without end
  if (options_.tty_height > 0 && options_.tty_width > 0) {
    Resize(static_cast<uint16_t>(options_.tty_height), static_cast<uint16_t>(options_.tty_width));
  }
  CloseFd(console_fd_);
  UnlinkBeside(options_.socket, ".tty");
}

void Stdio::KeepError(const char* data, size_t size) {
  if (size >= kErrorBytes) {
    data += size - kErrorBytes;
    size = kErrorBytes;
  }
  if (error_size_ + size > kErrorBytes) {
    const size_t drop = error_size_ + size - kErrorBytes;
    memmove(error_text_, error_text_ + drop, error_size_ - drop);
    error_size_ -= drop;
  }
  memcpy(error_text_ + error_size_, data, size);
  error_size_ += size;
}

void Stdio::Move(Stream stream, size_t budget, bool until_empty) {
  int& fd = OutputFd(stream);
  size_t held = 0;
  bool more = fd >= 0;
  while (more) {
    const ssize_t got = read(fd, buffer + held, LogWriter::kMaxText);
    if (got <= 0) {
      if (got < 0 && errno == EINTR) {
        continue;
      }
      // End of file, or the terminal's EIO when its other side is closed.
      if (got == 0 || errno != EAGAIN) {
        CloseFd(fd);
      }
      break;
    }
    const size_t count = static_cast<size_t>(got);
    if (!created_) {
      if (stream == Stream::kStderr) {
        KeepError(buffer, count);
      }
    } else {
      clients_.SendOutput(stream, buffer + held, count);
    }
    budget -= count < budget ? count : budget;
    // A full read is likely to have cut a line whose rest is there already: keep it together.
    more = (until_empty || count == LogWriter::kMaxText) && budget > 0;
    if (created_) {
      const size_t total = held + count;
      const size_t written = log_.Write(stream, buffer, total, !more);
      held = total - written;
      memmove(buffer, buffer + written, held);
    }
  }
  if (held > 0) {
    log_.Write(stream, buffer, held, true);
  }
}

void Stdio::OnOutput(Stream stream) { Move(stream, kBudget, false); }

bool Stdio::BecomeContainers() {
  if (options_.tty && out_fd_ < 0) {
    SetNonBlocking(console_fd_);
    OnConsole();
  }
  // What is in the pipes now is still the runtime's: the container waits for `start`.
  Move(Stream::kStderr, kLargestPipe, true);
  if (options_.tty) {
    CloseFd(err_fd_);
  } else {
    Move(Stream::kStdout, kLargestPipe, true);
  }
  created_ = true;
  error_size_ = 0;
  return !options_.tty || out_fd_ >= 0;
}

void Stdio::Drain() {
  Drain(Stream::kStdout);
  Drain(Stream::kStderr);
}

void Stdio::Drain(Stream stream) {
  const int fd = OutputFd(stream);
  if (fd < 0) {
    return;
  }
  // What was written before the end fits into the pipe, so no more than that need be read.
  const int size = options_.tty ? -1 : fcntl(fd, F_GETPIPE_SZ);
  Move(stream, size > 0 ? static_cast<size_t>(size) : kLargestPipe, true);
}

bool Stdio::QueueInput(const char* data, size_t size) {
  if (!input_ready()) {
    return false;
  }
  if (in_fd_ < 0 || size > sizeof(input_)) {
    return true;  // as with a closed standard input anywhere: there is nobody to read it
  }
  memcpy(input_, data, size);
  input_at_ = 0;
  input_size_ = size;
  OnInput();
  return true;
}

void Stdio::OnInput() {
  while (input_size_ > 0) {
    const ssize_t written = write(in_fd_, input_ + input_at_, input_size_);
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0 && errno == EAGAIN) {
      return;
    }
    if (written <= 0) {
      CloseFd(in_fd_);
      input_size_ = 0;
      return;
    }
    input_at_ += static_cast<size_t>(written);
    input_size_ -= static_cast<size_t>(written);
  }
  if (close_input_) {
    CloseFd(in_fd_);
  }
}

int Stdio::CloseInput() {
  if (options_.tty) {
    return ENOTTY;
  }
  close_input_ = true;
  if (input_ready()) {
    CloseFd(in_fd_);
  }
  return 0;
}

int Stdio::Resize(uint16_t height, uint16_t width) {
  if (!options_.tty || out_fd_ < 0) {
    return ENOTTY;
  }
  winsize size = {};
  size.ws_row = height;
  size.ws_col = width;
  return ioctl(out_fd_, TIOCSWINSZ, &size) == 0 ? 0 : errno;
}

}  // namespace berth::monitor
