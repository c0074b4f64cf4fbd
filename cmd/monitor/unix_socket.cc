#include "cmd/monitor/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/monitor/text.h"

namespace berth::monitor {

int ListenUnix(const char* path, int type, int* fd, char* short_path, size_t capacity) {
  const char* slash = strrchr(path, '/');
  if (slash == nullptr) {
    return EINVAL;
  }
  TextBuffer<4096> dir;
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

}  // namespace berth::monitor
