// Text in fixed buffers, small files and the clock, without stdio: what the monitor needs of them.
// Threads: the monitor has one. Memory: none is allocated.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace berth::monitor {

// Builds a text in the caller's buffer. What does not fit is dropped and remembered by
// overflowed(). Always terminated.
class Text {
 public:
  Text(char* buffer, size_t capacity) : data_(buffer), capacity_(capacity) { Clear(); }

  Text& Add(const char* text);
  Text& Add(const char* bytes, size_t count);
  Text& AddNumber(int64_t number);
  // At least `digits` digits, filled up with zeros.
  Text& AddPadded(int64_t number, int digits);
  // ": strerror".
  Text& AddError(int error);
  void Clear();

  const char* c_str() const { return data_; }
  size_t size() const { return size_; }
  bool overflowed() const { return overflowed_; }

 private:
  char* data_;
  size_t capacity_;
  size_t size_ = 0;
  bool overflowed_ = false;
};

template <size_t N>
class TextBuffer : public Text {
 public:
  TextBuffer() : Text(storage_, N) {}

 private:
  char storage_[N];
};

// Decimal digits at `text`, up to the first other character; -1 when there is none or it is too
// large for an int64_t.
int64_t ParseNumber(const char* text);

// Reads at most capacity - 1 bytes of a file and terminates them. The count, or -1 with errno.
int ReadSmallFile(const char* path, char* buffer, size_t capacity);
// Writes text to an existing file. 0 or an errno.
int WriteSmallFile(const char* path, const char* text);

// Nanoseconds of CLOCK_REALTIME.
int64_t NowNanos();
// Of CLOCK_MONOTONIC, for waiting.
int64_t MonotonicNanos();

}  // namespace berth::monitor
