// WindowMemory: where a zstd decoder keeps its window, the last bytes it has produced (RFC 8878,
// section 3.1.1.1.2: up to 128 MiB as we allow them, at the compressor's choice).
//
// Many layers are unpacked at a time, and memory is a target. All decoders of the process share
// kHeapBytes; a window that does not fit is an unlinked file beneath `dir_fd`, mapped: its pages
// are the page cache's, which the kernel takes back when it needs to, and those that Trim() unmaps
// do not count as the process's. Such a file's blocks are allocated beforehand: a full disk is an
// error here and not a fault later.
//
// Threads: one owner; the shared sum is thread-safe. Ownership: borrows dir_fd; what was allocated
// must have been freed before the destructor.
#pragma once

#include <cstddef>
#include <map>

#include "absl/status/status.h"

namespace berth::archive {

class WindowMemory {
 public:
  static constexpr size_t kHeapBytes = 40 << 20;
  // Smaller pieces are no windows: always in memory, and not counted.
  static constexpr size_t kSmallBytes = 512 << 10;

  // dir_fd: a directory on a disk, which is not changed; below 0: everything is in memory.
  explicit WindowMemory(int dir_fd) : dir_fd_(dir_fd) {}
  ~WindowMemory();
  WindowMemory(const WindowMemory&) = delete;
  WindowMemory& operator=(const WindowMemory&) = delete;

  // Null: status() says why. kResourceExhausted: disk full; else what the system said.
  void* Allocate(size_t size);
  void Free(void* memory);
  const absl::Status& status() const { return status_; }

  bool has_files() const { return files_ > 0; }
  // Unmaps the files' pages; they stay in the page cache and come back when they are touched.
  void Trim();

 private:
  struct Piece {
    size_t size;
    bool is_file;
  };
  void* MapFile(size_t size);

  const int dir_fd_;
  int files_ = 0;
  std::map<void*, Piece> pieces_;
  absl::Status status_;
};

}  // namespace berth::archive
