#include "cmd/monitor/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/monitor/journal.h"
#include "cmd/monitor/text.h"

namespace berth::monitor {
namespace {

const char kNewline[] = "\n";

// "+02:00"
void AddOffset(Text& text, int minutes) {
  const int size = minutes < 0 ? -minutes : minutes;
  text.Add(minutes < 0 ? "-" : "+").AddPadded(size / 60, 2).Add(":").AddPadded(size % 60, 2);
}

}  // namespace

int LogWriter::Open(const char* path, int64_t max_size) {
  path_ = path;
  max_size_ = max_size;
  if (path == nullptr) {
    return 0;
  }
  // O_NONBLOCK so that a fifo in its place fails instead of waiting for a reader; it means nothing
  // for a file.
  const int fd =
      open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640);
  if (fd < 0) {
    return errno;
  }
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd);
    return EINVAL;
  }
  fchmod(fd, 0640);
  if (fd_ >= 0) {
    close(fd_);
  }
  fd_ = fd;
  size_ = status.st_size;
  return 0;
}

void LogWriter::FormatTime() {
  const int64_t now = NowNanos();
  const int64_t second = now / 1000000000;
  if (second != second_) {
    const time_t clock = second;
    tm broken;
    if (second / 900 != quarter_) {
      localtime_r(&clock, &broken);
      offset_minutes_ = static_cast<int>(broken.tm_gmtoff / 60);
      quarter_ = second / 900;
    }
    const time_t shifted = second + time_t{60} * offset_minutes_;
    gmtime_r(&shifted, &broken);
    Text(second_text_, sizeof(second_text_))
        .AddPadded(broken.tm_year + 1900, 4)
        .Add("-")
        .AddPadded(broken.tm_mon + 1, 2)
        .Add("-")
        .AddPadded(broken.tm_mday, 2)
        .Add("T")
        .AddPadded(broken.tm_hour, 2)
        .Add(":")
        .AddPadded(broken.tm_min, 2)
        .Add(":")
        .AddPadded(broken.tm_sec, 2)
        .Add(".");
    second_ = second;
  }
  Text header(headers_[0], sizeof(headers_[0]));
  header.Add(second_text_).AddPadded(now % 1000000000, 9);
  AddOffset(header, offset_minutes_);
  header_size_ = header.size();
}

size_t LogWriter::Write(Stream stream, const char* data, size_t size, bool all) {
  if (fd_ < 0 && journal_ == nullptr) {
    return size;
  }
  FormatTime();
  Text header(headers_[1], sizeof(headers_[1]));
  header.Add(headers_[0], header_size_)
      .Add(stream == Stream::kStdout ? " stdout P " : " stderr P ");
  header_size_ = header.size();
  memcpy(headers_[0], headers_[1], header_size_);
  headers_[0][header_size_ - 2] = 'F';

  size_t done = 0;
  while (done < size) {
    const char* text = data + done;
    const size_t left = size - done;
    // One more than a text's size, so that a line of just that size is one record.
    const size_t window = left < kMaxText + 1 ? left : kMaxText + 1;
    const char* newline = static_cast<const char*>(memchr(text, '\n', window));
    if (newline != nullptr) {
      Add(stream, text, static_cast<size_t>(newline - text) + 1, false);
      done += static_cast<size_t>(newline - text) + 1;
    } else if (left > kMaxText || all) {
      const size_t count = left < kMaxText ? left : kMaxText;
      Add(stream, text, count, true);
      done += count;
    } else {
      break;
    }
  }
  Flush();
  if (journal_ != nullptr) {
    journal_->Flush();
  }
  return done;
}

void LogWriter::Add(Stream stream, const char* text, size_t size, bool partial) {
  if (fd_ >= 0) {
    AddToFile(text, size, partial);
  }
  if (journal_ != nullptr) {
    journal_->Add(stream, text, partial ? size : size - 1, partial);
  }
}

void LogWriter::AddToFile(const char* text, size_t size, bool partial) {
  const size_t record = header_size_ + size + (partial ? 1 : 0);
  if (vector_count_ + 3 > kMaxVectors) {
    Flush();
  }
  if (max_size_ > 0 && size_ + static_cast<int64_t>(batch_bytes_ + record) > max_size_) {
    Flush();
    if (static_cast<int64_t>(record) > max_size_) {
      lost_bytes_ += size;
      return;
    }
    if (ftruncate(fd_, 0) == 0) {
      size_ = 0;
    }
  }
  vectors_[vector_count_++] = {headers_[partial ? 1 : 0], header_size_};
  vectors_[vector_count_++] = {const_cast<char*>(text), size};
  if (partial) {
    vectors_[vector_count_++] = {const_cast<char*>(kNewline), 1};
  }
  batch_bytes_ += record;
}

void LogWriter::Flush() {
  if (vector_count_ == 0) {
    return;
  }
  ssize_t written;
  do {
    written = writev(fd_, vectors_, vector_count_);
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(batch_bytes_)) {
    size_ += written;
  } else {
    DropFrom(written < 0 ? 0 : static_cast<size_t>(written));
  }
  vector_count_ = 0;
  batch_bytes_ = 0;
}

void LogWriter::DropFrom(size_t written) {
  size_t record_start = 0;
  size_t kept = 0;
  for (int at = 0; at < vector_count_;) {
    const bool partial = vectors_[at].iov_base == headers_[1];
    const size_t text = vectors_[at + 1].iov_len;
    const size_t record = header_size_ + text + (partial ? 1 : 0);
    if (record_start + record <= written) {
      kept = record_start + record;
    } else {
      lost_bytes_ += text;
    }
    record_start += record;
    at += partial ? 3 : 2;
  }
  size_ += static_cast<int64_t>(kept);
  if (written > kept) {
    struct stat status;
    if (fstat(fd_, &status) == 0) {
      const int64_t torn = static_cast<int64_t>(written - kept);
      if (status.st_size >= torn && ftruncate(fd_, status.st_size - torn) == 0) {
        size_ = status.st_size - torn;
      }
    }
  }
}

}  // namespace berth::monitor
