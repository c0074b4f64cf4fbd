#include "lib/base/user_namespace.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <utility>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::base {

namespace {

// For the calling thread alone: system calls, where the C library's functions would change all
// threads of the process. Returns 0 or an errno.
int ActAs(uid_t uid, gid_t gid) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  const bool acts = ::syscall(SYS_setresgid, -1, gid, -1) == 0 &&
                    ::syscall(SYS_setresuid, -1, uid, -1) == 0 &&
                    ::syscall(SYS_capget, &header, data) == 0;
  if (!acts) {
    return errno;
  }
  // The real user is still root: what is permitted stayed, and what is effective went.
  for (__user_cap_data_struct& half : data) {
    half.effective = half.permitted;
  }
  return ::syscall(SYS_capset, &header, data) == 0 ? 0 : errno;
}

}  // namespace

long CallAs(uid_t uid, gid_t gid, const std::function<long()>& call) {
  // A process that changes its ids is not dumped any more; this one has nothing to hide from its
  // old user.
  static const int dumpable = ::prctl(PR_GET_DUMPABLE);
  long result = -1;
  int error = 0;
  std::thread([&] {
    error = ActAs(uid, gid);
    if (error == 0) {
      result = call();
      error = errno;
    }
  }).join();
  ::prctl(PR_SET_DUMPABLE, dumpable);
  errno = error;
  return result;
}

absl::Status WriteIdMaps(pid_t pid, const std::string& uid_map, const std::string& gid_map) {
  for (const auto& [name, map] : {std::pair("uid_map", &uid_map), {"gid_map", &gid_map}}) {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(fmt::format("/proc/{}/{}", pid, name), O_WRONLY));
    // The kernel takes a map whole, in one write, or not at all.
    const ssize_t n = ::write(fd.get(), map->data(), map->size());
    if (n != static_cast<ssize_t>(map->size())) {
      return ErrnoStatus(n < 0 ? errno : EIO, fmt::format("write {} of the user namespace", name));
    }
  }
  return absl::OkStatus();
}

int AwaitIdMaps(int pipe_fd) {
  char byte;
  ssize_t n;
  do {
    n = ::read(pipe_fd, &byte, 1);
  } while (n < 0 && errno == EINTR);
  return n == 1 ? 0 : ECANCELED;
}

int BecomeMappedRoot() {
  // As in ActAs: the C library would look for the parent's threads.
  const bool is_root = ::syscall(SYS_setgroups, 0, nullptr) == 0 &&
                       ::syscall(SYS_setresgid, 0, 0, 0) == 0 &&
                       ::syscall(SYS_setresuid, 0, 0, 0) == 0;
  return is_root ? 0 : errno;
}

}  // namespace berth::base
