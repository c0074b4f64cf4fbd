#include "lib/mount/syscall_mounter.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "absl/strings/str_split.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::mount {

namespace {

constexpr size_t kMaxMountInfoBytes = 64 << 20;

const char* OrNull(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

int MountSyscall(const MountRequest& request) {
  return ::mount(OrNull(request.source), request.target.c_str(), OrNull(request.fstype),
                 request.flags, OrNull(request.options)) == 0
             ? 0
             : errno;
}

// The working directory belongs to the process; a thread that has left it may change its own, and
// ends right after.
int MountFrom(const MountRequest& request) {
  int error = 0;
  std::thread([&] {
    if (::unshare(CLONE_FS) != 0 || ::chdir(request.working_directory.c_str()) != 0) {
      error = errno;
      return;
    }
    error = MountSyscall(request);
  }).join();
  return error;
}

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string Unescape(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto octal = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      plain.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                        (text[i + 3] - '0')));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

}  // namespace

absl::Status RunInPrivateMounts(const std::function<absl::Status()>& work) {
  absl::Status result;
  std::thread([&] {
    if (::unshare(CLONE_FS | CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      result = base::ErrnoStatus(errno, "make a mount namespace");
      return;
    }
    result = work();
  }).join();
  return result;
}

absl::StatusOr<std::vector<MountInfoEntry>> ParseMountInfo(const std::string& text) {
  std::vector<MountInfoEntry> entries;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    // id parent major:minor root mount-point options optional... - fstype source super-options
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    size_t dash = 6;
    while (dash < fields.size() && fields[dash] != "-") {
      ++dash;
    }
    if (dash + 3 >= fields.size()) {
      return absl::DataLossError(
          fmt::format("read mountinfo: unexpected line '{}'", std::string(line)));
    }
    MountInfoEntry entry;
    entry.mount_point = Unescape(fields[4]);
    entry.optional_fields.assign(fields.begin() + 6, fields.begin() + static_cast<ptrdiff_t>(dash));
    entry.fstype = Unescape(fields[dash + 1]);
    entry.source = Unescape(fields[dash + 2]);
    entry.super_options = Unescape(fields[dash + 3]);
    entries.push_back(std::move(entry));
  }
  return entries;
}

absl::Status SyscallMounter::Mount(const MountRequest& request) {
  const std::string what = fmt::format(
      "mount {} at '{}'", request.fstype.empty() ? "'" + request.source + "'" : request.fstype,
      request.target);
  if (request.options.size() > kMaxOptionBytes) {
    return absl::OutOfRangeError(fmt::format("{}: {} bytes of options; the kernel takes {}", what,
                                             request.options.size(), kMaxOptionBytes));
  }
  const int error = request.working_directory.empty() ? MountSyscall(request) : MountFrom(request);
  return error == 0 ? absl::OkStatus() : base::ErrnoStatus(error, what);
}

absl::Status SyscallMounter::MountIdMapped(const IdMappedMount& request) {
  const std::string what =
      fmt::format("mount '{}' at '{}' with mapped ids", request.source, request.target);
  const unsigned depth = request.recursive ? AT_RECURSIVE : 0;
  const base::UniqueFd tree(
      ::open_tree(AT_FDCWD, request.source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | depth));
  if (!tree) {
    return base::ErrnoStatus(errno, what);
  }
  // The copy is nobody's yet. It must not stay a peer of the source: unmounting what is beneath it
  // would unmount that of the source.
  mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_IDMAP | (request.read_only ? MOUNT_ATTR_RDONLY : 0);
  attributes.propagation = request.is_slave ? MS_SLAVE : MS_PRIVATE;
  attributes.userns_fd = static_cast<uint64_t>(request.user_namespace_fd);
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH | depth, &attributes, sizeof(attributes)) !=
      0) {
    if (errno == EINVAL) {
      return absl::UnimplementedError(
          fmt::format("{}: its file system{} has no id-mapped mounts on this kernel", what,
                      request.recursive ? ", or one that is mounted beneath it," : ""));
    }
    return base::ErrnoStatus(errno, what);
  }
  if (::move_mount(tree.get(), "", AT_FDCWD, request.target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) !=
      0) {
    return base::ErrnoStatus(errno, what);
  }
  return absl::OkStatus();
}

absl::Status SyscallMounter::Unmount(const std::string& target, bool detach) {
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0)) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  if (error == ENOENT || error == EINVAL) {
    // EINVAL: not a mount point. Also said of one this namespace may not unmount (MNT_LOCKED),
    // which must not pass as done.
    const absl::StatusOr<bool> mounted = IsMountPoint(target);
    if (absl::IsNotFound(mounted.status()) || (mounted.ok() && !*mounted)) {
      return absl::OkStatus();
    }
  }
  const std::string what = fmt::format("unmount '{}'", target);
  if (error == EBUSY) {
    return absl::FailedPreconditionError(fmt::format("{}: in use", what));
  }
  return base::ErrnoStatus(error, what);
}

absl::StatusOr<bool> SyscallMounter::IsMountPoint(const std::string& path) {
  struct statx stx;
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &stx) !=
      0) {
    return base::ErrnoStatus(errno, fmt::format("stat '{}'", path));
  }
  if ((stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0) {
    return absl::UnimplementedError("the kernel does not tell mount points (statx, Linux 5.8)");
  }
  return (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

absl::StatusOr<std::vector<std::string>> SyscallMounter::MountsUnder(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text,
                   base::ReadFile("/proc/thread-self/mountinfo", kMaxMountInfoBytes));
  ASSIGN_OR_RETURN(const std::vector<MountInfoEntry> entries, ParseMountInfo(text));
  const std::string prefix = path == "/" ? path : path + "/";
  std::vector<std::string> found;
  // Later lines are newer mounts, and a mount below another one is newer than it unless it was
  // moved: depth decides first.
  for (auto it = entries.rbegin(); it != entries.rend(); ++it) {
    if (it->mount_point == path || it->mount_point.rfind(prefix, 0) == 0) {
      found.push_back(it->mount_point);
    }
  }
  const auto depth = [](const std::string& name) {
    return std::count(name.begin(), name.end(), '/');
  };
  std::stable_sort(found.begin(), found.end(),
                   [&](const std::string& a, const std::string& b) { return depth(a) > depth(b); });
  return found;
}

}  // namespace berth::mount
