#include "lib/netns/namespace.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <thread>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::netns {

namespace {

constexpr NamespaceType kAllTypes[] = {NamespaceType::kNet, NamespaceType::kIpc,
                                       NamespaceType::kUts, NamespaceType::kPid,
                                       NamespaceType::kUser};

bool SameFile(const std::string& a, const std::string& b) {
  struct stat x = {};
  struct stat y = {};
  return ::stat(a.c_str(), &x) == 0 && ::stat(b.c_str(), &y) == 0 && x.st_dev == y.st_dev &&
         x.st_ino == y.st_ino;
}

// Runs on the transient thread.
absl::Status EnterAndRun(const std::vector<int>& namespace_fds,
                         const std::function<absl::Status()>& work) {
  for (int fd : namespace_fds) {
    if (::setns(fd, 0) != 0) {
      return base::ErrnoStatus(errno, fmt::format("enter namespace of descriptor {}", fd));
    }
  }
  return work();
}

// 255.255.0.0 -> 16.
int CountBits(const void* bytes, size_t size) {
  const auto* at = static_cast<const uint8_t*>(bytes);
  int bits = 0;
  for (size_t i = 0; i < size; ++i) {
    bits += std::popcount(at[i]);
  }
  return bits;
}

absl::StatusOr<std::vector<InterfaceAddress>> ReadAddresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) {
    return base::ErrnoStatus(errno, "list interface addresses");
  }
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  std::vector<InterfaceAddress> result;
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_netmask == nullptr) {
      continue;
    }
    InterfaceAddress address;
    char text[INET6_ADDRSTRLEN] = "";
    if (at->ifa_addr->sa_family == AF_INET) {
      const auto* in = reinterpret_cast<const sockaddr_in*>(at->ifa_addr);
      const auto* mask = reinterpret_cast<const sockaddr_in*>(at->ifa_netmask);
      ::inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
      address.prefix_length = CountBits(&mask->sin_addr, sizeof(mask->sin_addr));
    } else if (at->ifa_addr->sa_family == AF_INET6) {
      const auto* in6 = reinterpret_cast<const sockaddr_in6*>(at->ifa_addr);
      const auto* mask = reinterpret_cast<const sockaddr_in6*>(at->ifa_netmask);
      ::inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
      address.prefix_length = CountBits(&mask->sin6_addr, sizeof(mask->sin6_addr));
      address.is_ipv6 = true;
    } else {
      continue;
    }
    address.interface = at->ifa_name;
    address.address = text;
    result.push_back(std::move(address));
  }
  return result;
}

}  // namespace

std::string_view NamespaceName(NamespaceType type) {
  switch (type) {
    case NamespaceType::kNet:
      return "net";
    case NamespaceType::kIpc:
      return "ipc";
    case NamespaceType::kUts:
      return "uts";
    case NamespaceType::kPid:
      return "pid";
    case NamespaceType::kUser:
      return "user";
  }
  return "";
}

int CloneFlag(NamespaceType type) {
  switch (type) {
    case NamespaceType::kNet:
      return CLONE_NEWNET;
    case NamespaceType::kIpc:
      return CLONE_NEWIPC;
    case NamespaceType::kUts:
      return CLONE_NEWUTS;
    case NamespaceType::kPid:
      return CLONE_NEWPID;
    case NamespaceType::kUser:
      return CLONE_NEWUSER;
  }
  return 0;
}

std::string PinPath(const std::string& pins_dir, NamespaceType type) {
  return fmt::format("{}/{}", pins_dir, NamespaceName(type));
}

absl::Status PinNamespace(pid_t pid, NamespaceType type, const std::string& path) {
  const std::string source = fmt::format("/proc/{}/ns/{}", pid, NamespaceName(type));
  const std::string what =
      fmt::format("pin {} namespace of process {} at '{}'", NamespaceName(type), pid, path);
  if (IsNamespace(path)) {
    if (SameFile(source, path)) {
      return absl::OkStatus();
    }
    return absl::AlreadyExistsError(fmt::format("{}: another namespace is pinned there", what));
  }
  RETURN_IF_ERROR(base::Annotate(base::MakeDirs(path.substr(0, path.rfind('/')), 0700), what));
  // Not truncated and not followed: a leftover of an earlier try is an empty file.
  const absl::StatusOr<base::UniqueFd> file =
      base::OpenFile(path, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (!file.ok()) {
    return base::Annotate(file.status(), what);
  }
  if (::mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    const int error = errno;
    ::unlink(path.c_str());
    return base::ErrnoStatus(error, what);
  }
  return absl::OkStatus();
}

absl::Status UnpinNamespace(const std::string& path) {
  // A loop: nothing forbids that something was mounted there twice. EINVAL: not a mount point (any
  // more).
  for (int i = 0; i < 16; ++i) {
    if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
      if (errno == EINVAL || errno == ENOENT) {
        break;
      }
      return base::ErrnoStatus(errno, fmt::format("unpin namespace '{}'", path));
    }
  }
  return base::Annotate(base::RemoveFile(path), fmt::format("unpin namespace '{}'", path));
}

absl::Status UnpinAll(const std::string& pins_dir) {
  absl::Status first;
  for (NamespaceType type : kAllTypes) {
    const std::string path = PinPath(pins_dir, type);
    struct stat st = {};
    if (::lstat(path.c_str(), &st) != 0 && errno == ENOENT) {
      continue;
    }
    first.Update(UnpinNamespace(path));
  }
  if (::rmdir(pins_dir.c_str()) != 0 && errno != ENOENT) {
    first.Update(base::ErrnoStatus(errno, fmt::format("remove directory '{}'", pins_dir)));
  }
  return first;
}

bool IsNamespace(const std::string& path) {
  struct statfs fs = {};
  return ::statfs(path.c_str(), &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

absl::StatusOr<base::UniqueFd> OpenNamespace(const std::string& path) {
  ASSIGN_OR_RETURN(base::UniqueFd fd, base::OpenFile(path, O_RDONLY | O_NONBLOCK));
  struct statfs fs = {};
  if (::fstatfs(fd.get(), &fs) != 0) {
    return base::ErrnoStatus(errno, fmt::format("look at namespace '{}'", path));
  }
  if (fs.f_type != NSFS_MAGIC) {
    return absl::FailedPreconditionError(
        fmt::format("open namespace '{}': it is an ordinary file, nothing is pinned", path));
  }
  return fd;
}

absl::Status RunInNamespaces(const std::vector<int>& namespace_fds,
                             const std::function<absl::Status()>& work) {
  absl::Status result;
  std::thread thread([&] { result = EnterAndRun(namespace_fds, work); });
  thread.join();
  return result;
}

absl::Status RunInNamespaces(const std::vector<std::string>& namespace_paths,
                             const std::function<absl::Status()>& work) {
  std::vector<base::UniqueFd> owned;
  std::vector<int> fds;
  for (const std::string& path : namespace_paths) {
    ASSIGN_OR_RETURN(base::UniqueFd fd, OpenNamespace(path));
    fds.push_back(fd.get());
    owned.push_back(std::move(fd));
  }
  return RunInNamespaces(fds, work);
}

absl::Status BringUpLoopback(const std::string& netns_path) {
  const absl::Status status = RunInNamespaces(std::vector<std::string>{netns_path}, [] {
    const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = {};
    request.ifr_name[0] = 'l';
    request.ifr_name[1] = 'o';
    if (!socket || ::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) {
      return base::ErrnoStatus(errno, "read flags of 'lo'");
    }
    request.ifr_flags = static_cast<int16_t>(request.ifr_flags | IFF_UP);
    if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) {
      return base::ErrnoStatus(errno, "set 'lo' up");
    }
    return absl::OkStatus();
  });
  return base::Annotate(status, fmt::format("bring up loopback in '{}'", netns_path));
}

absl::StatusOr<std::vector<InterfaceAddress>> InterfaceAddresses(const std::string& netns_path) {
  absl::StatusOr<std::vector<InterfaceAddress>> result;
  RETURN_IF_ERROR(base::Annotate(RunInNamespaces(std::vector<std::string>{netns_path},
                                                 [&result] {
                                                   result = ReadAddresses();
                                                   return result.status();
                                                 }),
                                 fmt::format("read addresses in '{}'", netns_path)));
  return result;
}

}  // namespace berth::netns
