// Journal: the container's output in systemd's journal, beside its log file, by the journal's
// native protocol and with the fields that conmon gives it:
//
//   PRIORITY (6; 3 for stderr), CONTAINER_ID_FULL, CONTAINER_ID (its first 12 digits),
//   CONTAINER_NAME, SYSLOG_IDENTIFIER (the name), MESSAGE, and CONTAINER_PARTIAL_MESSAGE=true where
//   the text did not end with a newline (yet).
//
// Entries are those of the log: a text has kMaxText bytes at most, so that a batch fits into a
// datagram and no memfd is needed. Several of them leave in one datagram.
//
// Nothing here waits. What the journal does not take at once (it is stopped, full or slow) is
// dropped and counted, and an entry of priority 4 says how much that was as soon as it takes
// something again.
//
// Source: systemd "Native Journal Protocol"; journald's reader for several entries in a datagram.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "cmd/monitor/stream.h"

namespace berth::monitor {

class Journal {
 public:
  // path: the journal's socket, which need not be there yet. False: it does not fit into an
  // address, or there is no descriptor.
  bool Open(const char* path, const char* id, const char* name);
  bool is_open() const { return fd_ >= 0; }

  // One record, without its newline. `text` is borrowed until Flush.
  void Add(Stream stream, const char* text, size_t size, bool partial);
  void Flush();
  // Tells of what was lost, if that was not told yet.
  void TellLoss();

  uint64_t lost_entries() const { return lost_; }

 private:
  static constexpr int kEntries = 32;  // of a datagram
  static constexpr int kParts = 4;     // of an entry

  bool Send(const iovec* parts, int count);

  int fd_ = -1;
  int entries_ = 0;
  size_t fields_size_ = 0;
  uint64_t lost_ = 0;
  uint64_t told_ = 0;
  // Last, and without initializers: a monitor that has no journal touches none of their pages.
  sockaddr_un address_;
  char fields_[2048];  // those that are the same in each entry, and the beginning of MESSAGE
  iovec parts_[kEntries * kParts];
};

}  // namespace berth::monitor
