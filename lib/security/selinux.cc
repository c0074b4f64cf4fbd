#include "lib/security/selinux.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "lib/base/beneath.h"
#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::security {
namespace {

constexpr unsigned kCategories = 1024;
constexpr size_t kMaxLevels = kCategories * (kCategories - 1) / 2;
constexpr size_t kMaxLabelPart = 256;
constexpr int kMaxDepth = 1024;  // of a tree that is labelled: one descriptor each
constexpr char kLabelXattr[] = "security.selinux";

// To label these is to lock the node's own programs out of them.
constexpr std::string_view kNodesOwn[] = {
    "/",    "/bin",   "/boot",  "/dev", "/etc", "/etc/passwd", "/etc/pki", "/etc/shadow", "/home",
    "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc",       "/root",    "/run",        "/sbin",
    "/srv", "/sys",   "/tmp",   "/usr", "/var", "/var/lib",    "/var/log", "/var/run"};

absl::Status CheckPart(const char* name, const std::string& part, bool may_have_colon) {
  const bool fine =
      part.size() <= kMaxLabelPart && std::all_of(part.begin(), part.end(), [&](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' ||
               c == '-' || (may_have_colon && (c == ':' || c == ','));
      });
  return fine ? absl::OkStatus()
              : absl::InvalidArgumentError(fmt::format("SELinux {} '{}' is none", name, part));
}

std::string FirstOf(const std::string& a, const std::string& b, const char* c) {
  return !a.empty() ? a : !b.empty() ? b : c;
}

// A file system without labels, or one that the policy labels by itself.
bool IsUnlabelled(int error) { return error == ENOTSUP || error == EROFS; }

// Of an entry of a directory, "/proc/self/fd/DIR/NAME": symlinks take no fsetxattr.
absl::Status SetLabel(const std::string& proc_path, const std::string& shown,
                      const std::string& label) {
  if (::lsetxattr(proc_path.c_str(), kLabelXattr, label.c_str(), label.size() + 1, 0) != 0 &&
      !IsUnlabelled(errno) && errno != ENOENT) {
    return base::ErrnoStatus(errno, fmt::format("label '{}'", shown));
  }
  return absl::OkStatus();
}

absl::Status RelabelTree(const base::OpContext& ctx, int dir, const std::string& shown,
                         const std::string& label, int depth) {
  if (depth > kMaxDepth) {
    return absl::InvalidArgumentError(fmt::format("'{}' is too deep to be labelled", shown));
  }
  DIR* entries = ::fdopendir(::fcntl(dir, F_DUPFD_CLOEXEC, 0));
  if (entries == nullptr) {
    return base::ErrnoStatus(errno, fmt::format("read directory '{}'", shown));
  }
  absl::Status status = ctx.Check();
  while (status.ok()) {
    const dirent* entry = ::readdir(entries);
    if (entry == nullptr) {
      break;
    }
    const std::string name = entry->d_name;
    if (name == "." || name == "..") {
      continue;
    }
    // Beneath the directory's descriptor: a container that renames what is above leads nowhere.
    status = SetLabel(fmt::format("/proc/self/fd/{}/{}", dir, name), shown + "/" + name, label);
    const base::UniqueFd child(
        ::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (status.ok() && child) {
      status = RelabelTree(ctx, child.get(), shown + "/" + name, label, depth + 1);
    }
  }
  ::closedir(entries);
  return status;
}

}  // namespace

absl::StatusOr<SelinuxLabels> LabelsFor(const model::SelinuxOptions& options,
                                        const model::SelinuxOptions& pod) {
  if (options.empty() && pod.empty()) {
    return SelinuxLabels();
  }
  const std::string user = FirstOf(options.user, pod.user, "system_u");
  const std::string role = FirstOf(options.role, pod.role, "system_r");
  const std::string type = FirstOf(options.type, pod.type, "container_t");
  const std::string level = FirstOf(options.level, pod.level, "s0");
  RETURN_IF_ERROR(CheckPart("user", user, false));
  RETURN_IF_ERROR(CheckPart("role", role, false));
  RETURN_IF_ERROR(CheckPart("type", type, false));
  RETURN_IF_ERROR(CheckPart("level", level, true));
  return SelinuxLabels{.process = fmt::format("{}:{}:{}:{}", user, role, type, level),
                       .mount = fmt::format("{}:object_r:container_file_t:{}", user, level)};
}

std::string ContextOption(const std::string& label) {
  return label.empty() ? "" : fmt::format("context=\"{}\"", label);
}

absl::Status Relabel(const base::OpContext& ctx, const std::string& path,
                     const std::string& label) {
  const auto own = std::find(std::begin(kNodesOwn), std::end(kNodesOwn), path);
  if (own != std::end(kNodesOwn)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is the node's own and is not relabelled for a container", path));
  }
  // Its parents may be volumes of other containers, which may put symlinks there meanwhile.
  ASSIGN_OR_RETURN(const base::UniqueFd root, base::OpenFile("/", O_PATH | O_DIRECTORY));
  absl::StatusOr<base::UniqueFd> file = base::OpenBeneath(root.get(), path.substr(1), O_PATH);
  RETURN_IF_ERROR(base::Annotate(file.status(), fmt::format("label '{}'", path)));
  const std::string by_fd = fmt::format("/proc/self/fd/{}", file->get());
  if (::getxattr(by_fd.c_str(), kLabelXattr, nullptr, 0) < 0 && IsUnlabelled(errno)) {
    return absl::OkStatus();
  }
  // setxattr follows what is no real symlink: the descriptor's file, which is none.
  if (::setxattr(by_fd.c_str(), kLabelXattr, label.c_str(), label.size() + 1, 0) != 0 &&
      !IsUnlabelled(errno)) {
    return base::ErrnoStatus(errno, fmt::format("label '{}'", path));
  }
  const base::UniqueFd dir(::openat(file->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return dir ? RelabelTree(ctx, dir.get(), path, label, 0) : absl::OkStatus();
}

Selinux::Selinux(bool wanted, const std::string& root) : root_(root) {
  // Without a policy the kernel knows one label, "kernel", and refuses all others.
  const auto current = base::ReadFile(root + "/proc/self/attr/current", 4096);
  const bool has_policy = base::PathExists(root + "/sys/fs/selinux/policy") && current.ok() &&
                          current->rfind("kernel", 0) != 0;
  in_use_ = wanted && has_policy;
  if (wanted && !has_policy) {
    warning_ =
        "runtime.selinux is set, but SELinux is not in use on this kernel or has no policy: "
        "containers and volumes get no labels";
  } else if (!wanted && has_policy) {
    warning_ =
        "SELinux is in use on this node, but runtime.selinux is not set: containers and volumes "
        "get no labels";
  }
}

absl::Status Selinux::Check(const std::string& label) const {
  const std::string path = root_ + "/sys/fs/selinux/context";
  const base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) {
    return base::ErrnoStatus(errno, fmt::format("open '{}'", path));
  }
  const ssize_t written = ::write(file.get(), label.c_str(), label.size() + 1);
  if (written < 0 && errno == EINVAL) {
    return absl::InvalidArgumentError(
        fmt::format("the SELinux policy of this node knows no label '{}'", label));
  }
  return written < 0 ? base::ErrnoStatus(errno, fmt::format("check SELinux label '{}'", label))
                     : absl::OkStatus();
}

absl::StatusOr<std::string> Selinux::TakeLevel() {
  const base::MutexLock lock(mu_);
  while (levels_.size() < kMaxLevels / 2) {
    uint16_t picked[2] = {};
    if (::getrandom(picked, sizeof(picked), 0) != sizeof(picked)) {
      return base::ErrnoStatus(errno, "pick SELinux categories");
    }
    const unsigned a = picked[0] % kCategories;
    const unsigned b = picked[1] % kCategories;
    std::string level = fmt::format("s0:c{},c{}", std::min(a, b), std::max(a, b));
    if (a != b && levels_.count(level) == 0) {
      levels_.insert(level);
      return level;
    }
  }
  return absl::ResourceExhaustedError("all SELinux levels are taken by pods");
}

void Selinux::KeepLevel(const std::string& level) {
  const base::MutexLock lock(mu_);
  if (!level.empty()) {
    levels_.insert(level);
  }
}

void Selinux::FreeLevel(const std::string& level) {
  const base::MutexLock lock(mu_);
  if (const auto it = levels_.find(level); it != levels_.end()) {
    levels_.erase(it);
  }
}

}  // namespace berth::security
