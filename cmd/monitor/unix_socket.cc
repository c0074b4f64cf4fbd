#include "cmd/monitor/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/monitor/scratch.h"
#include "cmd/monitor/text.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441  // _IO('T', 0x41), man 2 ioctl_tty
#endif

namespace berth::monitor {

int ListenUnix(const char* path, int type, int* fd, char* short_path, size_t capacity) {
  const char* slash = strrchr(path, '/');
  if (slash == nullptr) {
    return EINVAL;
  }
  Text dir(scratch, kScratchBytes);
  dir.Add(path, static_cast<size_t>(slash - path)).Add("/");
  const int dir_fd = open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dir_fd < 0) {
    return errno;
  }

  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  Text name(address.sun_path, sizeof(address.sun_path));
  name.Add("/proc/").AddNumber(getpid()).Add("/fd/").AddNumber(dir_fd).Add(slash);
  int error = name.overflowed() ? ENAMETOOLONG : 0;
  const int listener = error == 0 ? socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
  if (error == 0) {
    unlinkat(dir_fd, slash + 1, 0);
    const mode_t mask = umask(0177);
    if (listener < 0 ||
        bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(listener, 16) != 0) {
      error = errno;
    }
    umask(mask);
  }
  if (error != 0) {
    close(listener);
    close(dir_fd);
    return error;
  }
  *fd = listener;
  if (short_path == nullptr) {
    close(dir_fd);
  } else {
    Text(short_path, capacity).Add(address.sun_path);
  }
  return 0;
}

void UnlinkBeside(const char* path, const char* suffix) {
  TextBuffer<4096> name;
  name.Add(path).Add(suffix);
  unlink(name.c_str());
}

int ReceiveFd(int connection) {
  char bytes[256];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec vector = {bytes, sizeof(bytes)};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got;
  do {
    got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  const cmsghdr* header = got < 0 ? nullptr : CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len < CMSG_LEN(sizeof(int))) {
    return -1;
  }
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return fd;
}

int ReceiveTerminal(int console_fd) {
  const int connection = accept4(console_fd, nullptr, nullptr, SOCK_CLOEXEC);
  if (connection < 0) {
    return -1;
  }
  // The runtime sends the descriptor right after connecting; should it not, it would wait for us
  // for ever, so do not.
  const timeval limit = {2, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  const int master = ReceiveFd(connection);
  close(connection);
  return master;
}

void SendWithFd(int connection, const void* bytes, size_t size, int fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec vector = {const_cast<void*>(bytes), size};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  sendmsg(connection, &message, MSG_NOSIGNAL);
}

int HoldTerminal(int master) { return ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC); }

}  // namespace berth::monitor
