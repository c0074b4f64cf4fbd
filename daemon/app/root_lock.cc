#include "daemon/app/root_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::app {

namespace {

// A berthd that was killed while it started a program leaves its locks with that child, which
// shares its descriptors until it executes: some milliseconds.
constexpr absl::Duration kPatience = absl::Seconds(2);

// 0, or the errno of the last try. Waits as long as `worth_waiting` says so, kPatience at most.
template <typename WorthWaiting>
int Lock(int fd, WorthWaiting worth_waiting) {
  const absl::Time end = absl::Now() + kPatience;
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    if (error != EWOULDBLOCK || absl::Now() >= end || !worth_waiting()) {
      return error;
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
  return 0;
}

// Whether the process whose pid the lock's file holds has ended.
bool HolderIsGone(int fd) {
  pid_t pid = 0;
  const std::string text = base::ReadFd(fd, 64).value_or("");
  ::lseek(fd, 0, SEEK_SET);
  return absl::SimpleAtoi(text, &pid) && pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH;
}

// Whether the open file is still what the path names: `berthctl wipe` removes it.
bool IsStillAt(int fd, const std::string& path) {
  struct stat held;
  struct stat there;
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &there) == 0 &&
         held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

}  // namespace

absl::StatusOr<RootLock> RootLock::Take(const std::string& path, const std::string& state) {
  ASSIGN_OR_RETURN(base::UniqueFd fd, base::OpenFile(path, O_RDWR | O_CREAT, 0600));
  if (const int error = Lock(fd.get(), [&] { return HolderIsGone(fd.get()); }); error != 0) {
    if (error != EWOULDBLOCK) {
      return base::ErrnoStatus(error, fmt::format("lock '{}'", path));
    }
    const std::string holder = base::ReadFd(fd.get(), 64).value_or("");
    return absl::FailedPreconditionError(
        fmt::format("lock '{}': another berthd uses this root (pid {}); stop it, or give this one "
                    "another --root and --state",
                    path, holder.empty() ? "unknown" : holder));
  }
  if (!IsStillAt(fd.get(), path)) {
    return Take(path, state);
  }
  // For whoever wants to know; a start must not fail for want of room.
  absl::Status written =
      ::ftruncate(fd.get(), 0) == 0 ? absl::OkStatus() : base::ErrnoStatus(errno, "truncate");
  if (written.ok()) {
    written = base::WriteFd(fd.get(), std::to_string(::getpid()));
  }
  if (!written.ok()) {
    base::Log("app").warn("cannot write the pid into the root's lock path={} error={}", path,
                          written.ToString());
  }
  ASSIGN_OR_RETURN(base::UniqueFd state_fd, base::OpenFile(state, O_RDONLY | O_DIRECTORY));
  if (const int error = Lock(state_fd.get(), [] { return true; }); error != 0) {
    if (error != EWOULDBLOCK) {
      return base::ErrnoStatus(error, fmt::format("lock '{}'", state));
    }
    return absl::FailedPreconditionError(
        fmt::format("lock '{}': a berthd with another root uses this state directory; give this "
                    "one another --state",
                    state));
  }
  return RootLock(std::move(fd), std::move(state_fd));
}

absl::Status CheckSocketFree(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        fmt::format("socket path '{}' is longer than the {} bytes the system allows", path,
                    sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  struct stat info = {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus()
                           : base::ErrnoStatus(errno, fmt::format("look at '{}'", path));
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(
        fmt::format("listen on '{}': there is something else than a socket; remove it, or give "
                    "this berthd another --listen",
                    path));
  }
  const base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) {
    return base::ErrnoStatus(errno, "make socket");
  }
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return absl::FailedPreconditionError(
        fmt::format("listen on '{}': another process answers there; stop it, or give this berthd "
                    "another --listen",
                    path));
  }
  return absl::OkStatus();
}

}  // namespace berth::app
