#include "cmd/monitor/exit_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cmd/monitor/text.h"

namespace berth::monitor {

int WriteExitRecord(const char* path, const monitor_protocol::ExitRecord& record) {
  TextBuffer<4096> temporary;
  temporary.Add(path).Add(".tmp");
  if (temporary.overflowed()) {
    return ENAMETOOLONG;
  }
  const int fd =
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) {
    return errno;
  }
  const ssize_t written = write(fd, &record, sizeof(record));
  int error = written == static_cast<ssize_t>(sizeof(record)) ? 0 : written < 0 ? errno : ENOSPC;
  close(fd);
  if (error == 0 && rename(temporary.c_str(), path) != 0) {
    error = errno;
  }
  if (error != 0) {
    unlink(temporary.c_str());
  }
  return error;
}

}  // namespace berth::monitor
