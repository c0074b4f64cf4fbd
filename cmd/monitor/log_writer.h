// LogWriter: the container's log file in the format that the kubelet and crictl read.
//
//   2006-01-02T15:04:05.000000000+02:00 stdout F text\n
//
// Local time with its numeric offset, nine digits of a second; stdout or stderr; F: the text ended
// with a newline, P: it did not (yet), the next record of this stream goes on with it. A text is at
// most kMaxText bytes. Output that ends without a newline leaves a P record and nothing after it.
//
// The file is the monitor's alone to write. A record that could not be written as a whole (disk
// full) is cut off again and its text counted as lost; the next one is tried anew. Nothing here
// waits for anything but the file system.
//
// Source: kubernetes/design-proposals-archive "CRI: Log management for container stdout/stderr
// streams".
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "cmd/monitor/stream.h"

namespace berth::monitor {

class Journal;

class LogWriter {
 public:
  static constexpr size_t kMaxText = 8192;

  // Opens (makes, mode 0640) or reopens the file; on an error the old one stays. 0 or an errno.
  // max_size 0: no limit; else the file is emptied when a record would make it larger. path null:
  // Write drops everything.
  int Open(const char* path, int64_t max_size);

  // Gives every record to the journal, too. Borrowed.
  void AlsoTo(Journal* journal) { journal_ = journal; }

  // Writes what is complete of `data` with the time of now, and returns how many bytes that were. A
  // last line that is not complete is left when it is shorter than kMaxText and `all` is false;
  // with `all` it becomes a P record.
  size_t Write(Stream stream, const char* data, size_t size, bool all);

  uint64_t lost_bytes() const { return lost_bytes_; }

 private:
  static constexpr int kMaxVectors = 96;

  void FormatTime();
  // text includes its newline unless partial.
  void Add(Stream stream, const char* text, size_t size, bool partial);
  void AddToFile(const char* text, size_t size, bool partial);
  void Flush();
  // Counts the records of the batch from byte `written` on as lost, and cuts off the one that is
  // there in part.
  void DropFrom(size_t written);

  Journal* journal_ = nullptr;
  int fd_ = -1;
  const char* path_ = nullptr;
  int64_t max_size_ = 0;
  int64_t size_ = 0;
  uint64_t lost_bytes_ = 0;

  // The batch: header, text, and for P records a newline.
  iovec vectors_[kMaxVectors];
  int vector_count_ = 0;
  size_t batch_bytes_ = 0;

  // Headers of the current time: [partial].
  char headers_[2][64];
  size_t header_size_ = 0;
  int64_t second_ = -1;
  int64_t quarter_ = -1;  // of an hour: offsets from UTC change only between two of them
  int offset_minutes_ = 0;
  char second_text_[32];  // "2006-01-02T15:04:05."
};

}  // namespace berth::monitor
