// power_disk FOLDER BYTES LOG BACKING: a disk whose power can be cut at any moment, afterwards.
//
// A FUSE file system on FOLDER with one file, `disk`, BYTES long, kept in the sparse file BACKING.
// With a loop device on it, it is a block device: the loop driver turns the writes of the file
// system above into writes here, and its flushes into fsync. Every one of them is appended to LOG
// before it is answered, so that tests/crash/power.py can make the disk again as it would have been
// after a power cut: all writes before some flush, and any part of those after it.
//
// LOG: records of {u32 kind, u32 unused, u64 offset, u64 length}, host byte order, kind 1 (write)
// followed by its bytes; kind 2 is a flush, kind 3 makes a range zero.
//
// Ends when FOLDER is unmounted, or its parent is gone. One thread, so the log has one order.
#define FUSE_USE_VERSION 31
#include <fcntl.h>
#include <fuse.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr const char* kName = "/disk";

enum Kind : uint32_t { kWrite = 1, kFlush = 2, kZero = 3 };

struct Record {
  uint32_t kind;
  uint32_t unused;
  uint64_t offset;
  uint64_t length;
};

int log_fd = -1;
int disk_fd = -1;
off_t disk_bytes = 0;

// 0, or what errno says, negative, as FUSE wants it.
int WriteAll(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno != EINTR) {
      return -errno;
    }
    if (n > 0) {
      data += n;
      size -= static_cast<size_t>(n);
    }
  }
  return 0;
}

int Append(Kind kind, uint64_t offset, uint64_t length, const char* data) {
  const Record record = {kind, 0, offset, length};
  const int status = WriteAll(log_fd, reinterpret_cast<const char*>(&record), sizeof(record));
  return status != 0 || data == nullptr ? status : WriteAll(log_fd, data, length);
}

int GetAttr(const char* path, struct stat* st, struct fuse_file_info*) {
  *st = {};
  if (std::strcmp(path, "/") == 0) {
    st->st_mode = S_IFDIR | 0700;
    st->st_nlink = 2;
    return 0;
  }
  if (std::strcmp(path, kName) != 0) {
    return -ENOENT;
  }
  st->st_mode = S_IFREG | 0600;
  st->st_nlink = 1;
  st->st_size = disk_bytes;
  return 0;
}

int ReadDir(const char*, void* list, fuse_fill_dir_t fill, off_t, struct fuse_file_info*,
            enum fuse_readdir_flags) {
  fill(list, kName + 1, nullptr, 0, static_cast<fuse_fill_dir_flags>(0));
  return 0;
}

int Open(const char* path, struct fuse_file_info*) {
  return std::strcmp(path, kName) == 0 ? 0 : -ENOENT;
}

int Read(const char*, char* buffer, size_t size, off_t offset, struct fuse_file_info*) {
  const ssize_t n = ::pread(disk_fd, buffer, size, offset);
  return n < 0 ? -errno : static_cast<int>(n);
}

int Write(const char*, const char* data, size_t size, off_t offset, struct fuse_file_info*) {
  if (offset + static_cast<off_t>(size) > disk_bytes) {
    return -ENOSPC;
  }
  if (const int status = Append(kWrite, static_cast<uint64_t>(offset), size, data); status != 0) {
    return status;
  }
  const ssize_t n = ::pwrite(disk_fd, data, size, offset);
  return n < 0 ? -errno : static_cast<int>(n);
}

int Fsync(const char*, int, struct fuse_file_info*) { return Append(kFlush, 0, 0, nullptr); }

int Fallocate(const char*, int mode, off_t offset, off_t length, struct fuse_file_info*) {
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0) {
    return -EOPNOTSUPP;
  }
  const int status =
      Append(kZero, static_cast<uint64_t>(offset), static_cast<uint64_t>(length), nullptr);
  if (status != 0) {
    return status;
  }
  return ::fallocate(disk_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) == 0
             ? 0
             : -errno;
}

int OpenNew(const char* path, int flags) {
  const int fd = ::open(path, O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0600);
  if (fd < 0) {
    std::fprintf(stderr, "power_disk: open '%s': %s\n", path, std::strerror(errno));
    std::exit(1);
  }
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: power_disk FOLDER BYTES LOG BACKING\n");
    return 2;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  disk_bytes = std::strtoll(argv[2], nullptr, 10);
  log_fd = OpenNew(argv[3], O_WRONLY | O_APPEND);
  disk_fd = OpenNew(argv[4], O_RDWR);
  if (::ftruncate(disk_fd, disk_bytes) != 0) {
    std::fprintf(stderr, "power_disk: size '%s': %s\n", argv[4], std::strerror(errno));
    return 1;
  }
  struct fuse_operations operations = {};
  operations.getattr = GetAttr;
  operations.readdir = ReadDir;
  operations.open = Open;
  operations.read = Read;
  operations.write = Write;
  operations.fsync = Fsync;
  operations.fallocate = Fallocate;
  std::string name = argv[0];
  std::string single = "-s";
  std::string foreground = "-f";
  char* arguments[] = {name.data(), single.data(), foreground.data(), argv[1], nullptr};
  return fuse_main(4, arguments, &operations, nullptr);
}
