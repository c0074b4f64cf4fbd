#include "lib/archive/window_memory.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::archive {

namespace {

std::atomic<size_t> heap_bytes = 0;

bool TakeHeap(size_t size) {
  if (heap_bytes.fetch_add(size) + size <= WindowMemory::kHeapBytes) {
    return true;
  }
  heap_bytes -= size;
  return false;
}

}  // namespace

WindowMemory::~WindowMemory() { BERTH_CHECK(pieces_.empty()); }

void* WindowMemory::Allocate(size_t size) {
  if (size < kSmallBytes) {
    return std::malloc(size);
  }
  const bool in_heap = dir_fd_ < 0 || TakeHeap(size);
  void* memory = in_heap ? std::malloc(size) : MapFile(size);
  if (memory == nullptr) {
    if (in_heap) {
      status_ = absl::ResourceExhaustedError(fmt::format("no memory for {} bytes", size));
    }
    if (in_heap && dir_fd_ >= 0) {
      heap_bytes -= size;
    }
    return nullptr;
  }
  pieces_[memory] = {size, !in_heap};
  files_ += in_heap ? 0 : 1;
  return memory;
}

void* WindowMemory::MapFile(size_t size) {
  const auto fail = [&](const char* what) {
    status_ = base::ErrnoStatus(
        errno, fmt::format("{} a file of {} bytes for the zstd window", what, size));
    return nullptr;
  };
  const base::UniqueFd file(::openat(dir_fd_, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) {
    return fail("make");
  }
  // Where files are copied on write, blocks are kept only for a file that is not.
  int flags = 0;
  if (::ioctl(file.get(), FS_IOC_GETFLAGS, &flags) == 0) {
    flags |= FS_NOCOW_FL;
    ::ioctl(file.get(), FS_IOC_SETFLAGS, &flags);
  }
  if (const int error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(size)); error != 0) {
    errno = error;
    return fail("allocate");
  }
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  return memory == MAP_FAILED ? fail("map") : memory;
}

void WindowMemory::Free(void* memory) {
  const auto found = pieces_.find(memory);
  if (found == pieces_.end()) {
    std::free(memory);
    return;
  }
  const Piece piece = found->second;
  pieces_.erase(found);
  if (piece.is_file) {
    ::munmap(memory, piece.size);
    --files_;
    return;
  }
  std::free(memory);
  if (dir_fd_ >= 0) {
    heap_bytes -= piece.size;
  }
}

void WindowMemory::Trim() {
  for (const auto& [memory, piece] : pieces_) {
    if (piece.is_file) {
      ::madvise(memory, piece.size, MADV_DONTNEED);
    }
  }
}

}  // namespace berth::archive
