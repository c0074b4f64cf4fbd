// storage_faults.so, for LD_PRELOAD: counts what a berthd does to files, and makes one of those
// calls go wrong. Which one is said in a page shared with the test (tests/crash/faults.py), so that
// "during this pull, the 17th" can be said, and tried with every number.
//
// Counted, before they are done: calls that make, write, rename, remove, change or flush files.
// Descriptors that are no regular file, and the log (0 to 2), do not count. Other programs that
// inherit the variable are left alone. What goes around the C library's wrappers is not seen.
//
// Environment: BERTH_STORAGE_FAULTS: path of a file that holds a struct Page.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

enum Action { kCount = 0, kKill = 1, kFail = 2, kNoSync = 3 };
// What is counted, and goes wrong.
enum Class { kMake = 1, kWrite = 2, kRemove = 4, kChange = 8, kSync = 16, kSyncAll = 32 };

struct Page {
  _Atomic int64_t count;   // calls so far
  _Atomic int64_t first;   // number of the first call that goes wrong
  _Atomic int64_t last;    // and of the last one
  _Atomic int32_t action;  // Action
  _Atomic int32_t error;   // errno for kFail
  _Atomic int32_t classes;
  _Atomic int32_t hits;  // calls that went wrong
};

static struct Page* page;

__attribute__((constructor)) static void Attach(void) {
  const char* path = getenv("BERTH_STORAGE_FAULTS");
  if (path == NULL || strcmp(program_invocation_short_name, "berthd") != 0) {
    return;
  }
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd >= 0) {
    void* mapped = mmap(NULL, sizeof(struct Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    page = mapped == MAP_FAILED ? NULL : mapped;
    close(fd);
  }
}

// 1: the call is to fail, errno is set. 2: it is to do nothing and say that it did. 0: go on.
static int Meet(enum Class class) {
  struct Page* shared = page;
  if (shared == NULL) {
    return 0;
  }
  if (shared->action == kNoSync) {
    return (class & shared->classes) != 0 ? 2 : 0;
  }
  if ((shared->classes & class) == 0) {
    return 0;
  }
  const int64_t number = ++shared->count;
  if (number < shared->first || number > shared->last) {
    return 0;
  }
  if (shared->action == kKill) {
    ++shared->hits;
    kill(getpid(), SIGKILL);
    for (;;) {
      pause();
    }
  }
  if (shared->action == kFail) {
    ++shared->hits;
    errno = shared->error;
    return 1;
  }
  return 0;
}

static int IsFile(int fd) {
  struct stat st;
  return fd > 2 && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

// CALL(class, counted, result type, name, (parameters), (arguments))
#define CALL(class, counted, type, name, parameters, arguments)  \
  type name parameters {                                         \
    static type(*real) parameters;                               \
    if (real == NULL) {                                          \
      real = (type(*) parameters)dlsym(RTLD_NEXT, #name);        \
    }                                                            \
    const int met = page != NULL && (counted) ? Meet(class) : 0; \
    return met == 0 ? real arguments : met == 1 ? (type)-1 : 0;  \
  }

CALL(kMake, 1, int, mkdir, (const char* path, mode_t mode), (path, mode))
CALL(kMake, 1, int, mkdirat, (int dir, const char* path, mode_t mode), (dir, path, mode))
CALL(kMake, 1, int, symlink, (const char* to, const char* path), (to, path))
CALL(kMake, 1, int, symlinkat, (const char* to, int dir, const char* path), (to, dir, path))
CALL(kMake, 1, int, linkat, (int from, const char* old, int dir, const char* path, int flags),
     (from, old, dir, path, flags))
CALL(kMake, 1, int, mknod, (const char* path, mode_t mode, dev_t device), (path, mode, device))
CALL(kMake, 1, int, mknodat, (int dir, const char* path, mode_t mode, dev_t device),
     (dir, path, mode, device))
CALL(kChange, 1, int, rename, (const char* from, const char* to), (from, to))
CALL(kChange, 1, int, renameat, (int from, const char* old, int to, const char* path),
     (from, old, to, path))
CALL(kChange, 1, int, renameat2,
     (int from, const char* old, int to, const char* path, unsigned int flags),
     (from, old, to, path, flags))
CALL(kRemove, 1, int, unlink, (const char* path), (path))
CALL(kRemove, 1, int, unlinkat, (int dir, const char* path, int flags), (dir, path, flags))
CALL(kRemove, 1, int, rmdir, (const char* path), (path))
CALL(kWrite, IsFile(fd), ssize_t, write, (int fd, const void* data, size_t size), (fd, data, size))
CALL(kWrite, IsFile(fd), ssize_t, pwrite, (int fd, const void* data, size_t size, off_t at),
     (fd, data, size, at))
CALL(kWrite, IsFile(fd), ssize_t, pwrite64, (int fd, const void* data, size_t size, off64_t at),
     (fd, data, size, at))
CALL(kWrite, IsFile(fd), ssize_t, writev, (int fd, const struct iovec* parts, int count),
     (fd, parts, count))
CALL(kWrite, IsFile(fd), ssize_t, pwritev, (int fd, const struct iovec* parts, int count, off_t at),
     (fd, parts, count, at))
CALL(kWrite, IsFile(to), ssize_t, copy_file_range,
     (int from, off64_t* at, int to, off64_t* there, size_t size, unsigned int flags),
     (from, at, to, there, size, flags))
CALL(kWrite, IsFile(fd), int, ftruncate, (int fd, off_t size), (fd, size))
CALL(kWrite, IsFile(fd), int, ftruncate64, (int fd, off64_t size), (fd, size))
CALL(kWrite, IsFile(fd), int, fallocate, (int fd, int mode, off_t at, off_t size),
     (fd, mode, at, size))
CALL(kChange, IsFile(fd), int, fchmod, (int fd, mode_t mode), (fd, mode))
CALL(kChange, IsFile(fd), int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid))
CALL(kChange, 1, int, chmod, (const char* path, mode_t mode), (path, mode))
CALL(kChange, 1, int, fchmodat, (int dir, const char* path, mode_t mode, int flags),
     (dir, path, mode, flags))
CALL(kChange, 1, int, fchownat, (int dir, const char* path, uid_t uid, gid_t gid, int flags),
     (dir, path, uid, gid, flags))
CALL(kChange, IsFile(fd), int, futimens, (int fd, const struct timespec times[2]), (fd, times))
CALL(kChange, 1, int, utimensat,
     (int dir, const char* path, const struct timespec times[2], int flags),
     (dir, path, times, flags))
CALL(kChange, IsFile(fd), int, fsetxattr,
     (int fd, const char* name, const void* value, size_t size, int flags),
     (fd, name, value, size, flags))
CALL(kSync, IsFile(fd), int, fsync, (int fd), (fd))
CALL(kSync, IsFile(fd), int, fdatasync, (int fd), (fd))
CALL(kSyncAll, IsFile(fd), int, syncfs, (int fd), (fd))

// open and openat count when they may make a file or empty one.
#define OPEN(name, before, arguments)                                        \
  int name(before const char* path, int flags, ...) {                        \
    static int (*real)(before const char*, int, ...);                        \
    if (real == NULL) {                                                      \
      real = (int (*)(before const char*, int, ...))dlsym(RTLD_NEXT, #name); \
    }                                                                        \
    va_list list;                                                            \
    va_start(list, flags);                                                   \
    const mode_t mode = va_arg(list, mode_t);                                \
    va_end(list);                                                            \
    if (page != NULL && (flags & (O_CREAT | O_TRUNC)) != 0 && Meet(kMake)) { \
      return -1;                                                             \
    }                                                                        \
    return real arguments;                                                   \
  }
#define NOTHING
#define FOLDER int dir,
OPEN(open, NOTHING, (path, flags, mode))
OPEN(open64, NOTHING, (path, flags, mode))
OPEN(openat, FOLDER, (dir, path, flags, mode))
OPEN(openat64, FOLDER, (dir, path, flags, mode))
