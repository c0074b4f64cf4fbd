#include "cmd/monitor/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

namespace berth::monitor {
namespace {

int64_t ClockNanos(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

}  // namespace

Text& Text::Add(const char* bytes, size_t count) {
  const size_t room = capacity_ - 1 - size_;
  if (count > room) {
    count = room;
    overflowed_ = true;
  }
  memcpy(data_ + size_, bytes, count);
  size_ += count;
  data_[size_] = '\0';
  return *this;
}

Text& Text::Add(const char* text) { return Add(text, strlen(text)); }

Text& Text::AddNumber(int64_t number) { return AddPadded(number, 1); }

Text& Text::AddPadded(int64_t number, int digits) {
  char reversed[24];
  int count = 0;
  uint64_t rest = number < 0 ? -static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  do {
    reversed[count++] = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  while (count < digits && count < 20) {
    reversed[count++] = '0';
  }
  if (number < 0) {
    reversed[count++] = '-';
  }
  while (count > 0) {
    Add(&reversed[--count], 1);
  }
  return *this;
}

Text& Text::AddError(int error) { return Add(": ").Add(strerror(error)); }

void Text::Clear() {
  size_ = 0;
  overflowed_ = false;
  data_[0] = '\0';
}

int64_t ParseNumber(const char* text) {
  int64_t value = -1;
  for (; *text >= '0' && *text <= '9'; text++) {
    if (value > (INT64_MAX - 9) / 10) {
      return -1;
    }
    value = (value < 0 ? 0 : value * 10) + (*text - '0');
  }
  return value;
}

int ReadSmallFile(const char* path, char* buffer, size_t capacity) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return -1;
  }
  size_t size = 0;
  while (size < capacity - 1) {
    const ssize_t got = read(fd, buffer + size, capacity - 1 - size);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      break;
    }
    size += static_cast<size_t>(got);
  }
  buffer[size] = '\0';
  close(fd);
  return static_cast<int>(size);
}

int WriteSmallFile(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    return errno;
  }
  const int error = write(fd, text, strlen(text)) < 0 ? errno : 0;
  close(fd);
  return error;
}

int64_t NowNanos() { return ClockNanos(CLOCK_REALTIME); }
int64_t MonotonicNanos() { return ClockNanos(CLOCK_MONOTONIC); }

}  // namespace berth::monitor
