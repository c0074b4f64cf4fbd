// CheckLayer: see layer_recipe.h.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <set>

#include "fmt/format.h"

#include "lib/archive/expected_tree.h"
#include "lib/archive/layer_recipe.h"
#include "lib/archive/recipe_source.h"
#include "lib/archive/xattrs.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/oci/sha256.h"

namespace berth::archive {

namespace {

constexpr std::string_view kOverlayPrefix = "trusted.overlay.";
constexpr std::string_view kOpaque = "trusted.overlay.opaque";
constexpr std::string_view kAccessAcl = "system.posix_acl_access";
// An ACL that says what a mode can say; the kernel keeps the mode alone.
constexpr size_t kMinimalAclBytes = 4 + 3 * 8;

using Node = ExpectedTree::Node;

class HashedSource : public ByteSource {
 public:
  HashedSource(const base::OpContext& ctx, ByteSource& source) : ctx_(ctx), source_(source) {}

  absl::StatusOr<std::string_view> Next() override {
    RETURN_IF_ERROR(ctx_.Check());
    ASSIGN_OR_RETURN(const std::string_view piece, source_.Next());
    hash_.Update(piece);
    return piece;
  }
  oci::Digest Finish() { return hash_.Finish(); }

 private:
  const base::OpContext& ctx_;
  ByteSource& source_;
  oci::Sha256 hash_;
};

const char* KindName(mode_t type) {
  switch (type & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symlink";
    case S_IFIFO:
      return "fifo";
    case S_IFCHR:
      return "character device";
    case S_IFBLK:
      return "block device";
    default:
      return "socket";
  }
}

absl::StatusOr<std::map<std::string, std::string>> ReadXattrs(int fd) {
  std::map<std::string, std::string> xattrs;
  std::vector<char> names;
  ssize_t size = ::flistxattr(fd, nullptr, 0);  // mostly there are none
  if (size > 0) {
    names.resize(XATTR_LIST_MAX);
    size = ::flistxattr(fd, names.data(), names.size());
  }
  if (size < 0) {
    return errno == ENOTSUP ? absl::StatusOr<std::map<std::string, std::string>>(xattrs)
                            : base::ErrnoStatus(errno, "list attributes");
  }
  std::vector<char> value;
  for (size_t at = 0; at < static_cast<size_t>(size);) {
    const std::string name(names.data() + at);
    at += name.size() + 1;
    if (!IsKeptXattr(name) && name.rfind(kOverlayPrefix, 0) != 0) {
      continue;
    }
    value.resize(XATTR_SIZE_MAX);
    const ssize_t bytes = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (bytes < 0) {
      return base::ErrnoStatus(errno, fmt::format("read attribute '{}'", name));
    }
    xattrs[name] = std::string(value.data(), static_cast<size_t>(bytes));
  }
  return xattrs;
}

// A capability with the root user 0 is given back in the form without one.
bool SameXattr(const std::string& name, const std::string& expected, const std::string& found) {
  constexpr size_t kWithoutRoot = 20;
  return expected == found ||
         (name == "security.capability" && expected.size() > kWithoutRoot &&
          found.size() == kWithoutRoot && expected.compare(4, kWithoutRoot - 4, found, 4) == 0);
}

class Checker {
 public:
  Checker(const base::OpContext& ctx, ExpectedTree& tree, size_t max_problems)
      : ctx_(ctx), tree_(tree), max_problems_(max_problems) {}

  absl::Status Run(int root_fd);
  std::vector<std::string> TakeProblems() { return std::move(problems_); }

 private:
  bool IsFull() const { return problems_.size() >= max_problems_; }
  void Report(std::string_view path, std::string_view what) {
    if (!IsFull()) {
      problems_.push_back(fmt::format("'{}': {}", path.empty() ? "/" : path, what));
    }
  }
  absl::Status CheckDirectory(int fd, const std::string& path, const Node& node);
  absl::Status CheckName(int parent_fd, const std::string& name, const std::string& path);
  absl::Status CheckNode(int parent_fd, const std::string& name, const std::string& path,
                         Node& node);
  void CheckStat(const std::string& path, const struct stat& st, Node& node);
  void CheckTime(const std::string& path, const struct stat& st, const Node& node);
  absl::Status CheckXattrs(int fd, const std::string& path, const Node& node);

  const base::OpContext& ctx_;
  ExpectedTree& tree_;
  const size_t max_problems_;
  std::vector<std::string> problems_;
};

absl::Status Checker::Run(int root_fd) {
  ExpectedTree::Name& root = tree_.names()[""];
  root.was_seen = true;
  struct stat st;
  base::UniqueFd fd(::openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fstat(fd.get(), &st) != 0) {
    return base::ErrnoStatus(errno, "open the layer's root");
  }
  CheckStat("", st, *root.node);
  RETURN_IF_ERROR(CheckDirectory(fd.get(), "", *root.node));
  const std::string* gone = nullptr;
  for (const auto& [path, name] : tree_.names()) {
    if (name.was_seen || (gone != nullptr && path.rfind(*gone + "/", 0) == 0)) {
      continue;
    }
    Report(path, "is missing");
    gone = &path;
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckDirectory(int fd, const std::string& path, const Node& node) {
  RETURN_IF_ERROR(CheckXattrs(fd, path, node));
  std::set<std::string> names;
  {
    const int own = ::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(own < 0 ? nullptr : ::fdopendir(own), ::closedir);
    if (dir == nullptr) {
      const int error = errno;
      if (own >= 0) {
        ::close(own);
      }
      return base::ErrnoStatus(error, fmt::format("read directory '{}'", path));
    }
    while (const dirent* item = ::readdir(dir.get())) {
      names.insert(item->d_name);
    }
  }
  for (const std::string& name : names) {
    if (name != "." && name != ".." && !IsFull()) {
      RETURN_IF_ERROR(ctx_.Check());
      RETURN_IF_ERROR(CheckName(fd, name, path.empty() ? name : path + "/" + name));
    }
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckName(int parent_fd, const std::string& name, const std::string& path) {
  const auto expected = tree_.names().find(path);
  if (expected == tree_.names().end()) {
    Report(path, "is not part of the layer");
    return absl::OkStatus();
  }
  expected->second.was_seen = true;
  return CheckNode(parent_fd, name, path, *expected->second.node);
}

absl::Status Checker::CheckNode(int parent_fd, const std::string& name, const std::string& path,
                                Node& node) {
  struct stat st;
  if (::fstatat(parent_fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return base::ErrnoStatus(errno, fmt::format("stat '{}'", path));
  }
  if ((st.st_mode & S_IFMT) != node.type) {
    Report(path,
           fmt::format("is a {} in place of a {}", KindName(st.st_mode), KindName(node.type)));
    return absl::OkStatus();
  }
  const bool was_checked = node.inode != 0;
  CheckStat(path, st, node);
  if (was_checked) {
    return absl::OkStatus();  // by another name
  }
  if (S_ISLNK(node.type)) {
    std::string link(PATH_MAX, '\0');
    const ssize_t size = ::readlinkat(parent_fd, name.c_str(), link.data(), link.size());
    link.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
    if (link != node.link) {
      Report(path, fmt::format("points to '{}' in place of '{}'", link, node.link));
    }
    return absl::OkStatus();
  }
  if (!S_ISREG(node.type) && !S_ISDIR(node.type)) {
    return absl::OkStatus();
  }
  const base::UniqueFd fd(
      ::openat(parent_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd) {
    Report(path, std::string(base::ErrnoStatus(errno, "cannot be opened").message()));
    return absl::OkStatus();
  }
  return S_ISDIR(node.type) ? CheckDirectory(fd.get(), path, node)
                            : CheckXattrs(fd.get(), path, node);
}

void Checker::CheckStat(const std::string& path, const struct stat& st, Node& node) {
  if (node.inode != 0) {
    if (node.inode != st.st_ino) {
      Report(path, "is no longer a hard link of what it was");
    }
    return;
  }
  node.inode = st.st_ino;
  if ((S_ISCHR(node.type) || S_ISBLK(node.type)) && st.st_rdev != node.device) {
    Report(path, fmt::format("is the device {}:{} in place of {}:{}", major(st.st_rdev),
                             minor(st.st_rdev), major(node.device), minor(node.device)));
  }
  if (!S_ISDIR(node.type) && st.st_nlink != node.names) {
    Report(path, fmt::format("has {} names in place of {}", st.st_nlink, node.names));
  }
  if (!node.content_problem.empty()) {
    Report(path, node.content_problem);
  } else if (S_ISREG(node.type) && static_cast<uint64_t>(st.st_size) != node.size) {
    Report(path, fmt::format("it has {} bytes in place of {}", st.st_size, node.size));
  }
  if (!node.is_described) {
    return;
  }
  if (st.st_uid != node.uid || st.st_gid != node.gid) {
    Report(path, fmt::format("belongs to {}:{} in place of {}:{}", st.st_uid, st.st_gid, node.uid,
                             node.gid));
  }
  // An ACL has its own idea of the permissions.
  const bool has_acl = node.xattrs.count(std::string(kAccessAcl)) != 0;
  const mode_t shown = has_acl ? 07000 : 07777;
  if (!S_ISLNK(node.type) && (st.st_mode & shown) != (node.mode & shown)) {
    Report(path,
           fmt::format("has the mode {:04o} in place of {:04o}", st.st_mode & 07777, node.mode));
  }
  CheckTime(path, st, node);
}

void Checker::CheckTime(const std::string& path, const struct stat& st, const Node& node) {
  // Beyond these a file system may have put another in its place; and some have whole seconds.
  if (node.mtime.tv_sec < INT32_MIN || node.mtime.tv_sec > INT32_MAX ||
      (st.st_mtim.tv_sec == node.mtime.tv_sec &&
       (st.st_mtim.tv_nsec == node.mtime.tv_nsec || st.st_mtim.tv_nsec == 0))) {
    return;
  }
  Report(path, fmt::format("was modified at {}.{:09} in place of {}.{:09}", st.st_mtim.tv_sec,
                           st.st_mtim.tv_nsec, node.mtime.tv_sec, node.mtime.tv_nsec));
}

absl::Status Checker::CheckXattrs(int fd, const std::string& path, const Node& node) {
  absl::StatusOr<std::map<std::string, std::string>> found = ReadXattrs(fd);
  if (!found.ok()) {
    Report(path, std::string(found.status().message()));
    return absl::OkStatus();
  }
  if (S_ISDIR(node.type)) {
    const auto opaque = found->find(std::string(kOpaque));
    const bool is_opaque = opaque != found->end() && opaque->second == "y";
    if (is_opaque != node.is_opaque) {
      Report(path, is_opaque ? "is marked opaque and should not be" : "is not marked opaque");
    }
    if (opaque != found->end()) {
      found->erase(opaque);
    }
  }
  for (const auto& [name, value] : node.xattrs) {
    const auto same = found->find(name);
    if (same == found->end()) {
      const bool may_be_lost = (name == kAccessAcl && value.size() <= kMinimalAclBytes) ||
                               (::fgetxattr(fd, name.c_str(), nullptr, 0) < 0 && errno == ENOTSUP);
      if (!may_be_lost) {
        Report(path, fmt::format("the attribute '{}' is missing", name));
      }
      continue;
    }
    if (!SameXattr(name, value, same->second)) {
      Report(path, fmt::format("the attribute '{}' has changed", name));
    }
    found->erase(same);
  }
  for (const auto& [name, value] : *found) {
    Report(path, fmt::format("the attribute '{}' is not part of the layer", name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> CheckLayer(const base::OpContext& ctx, int root_fd,
                                                    int recipe_fd, const oci::Digest& diff_id,
                                                    size_t max_problems) {
  const LayerLimits limits;
  RecipeSource source(root_fd, recipe_fd, RecipeSource::Mode::kCheck);
  RETURN_IF_ERROR(source.Open());
  HashedSource hashed(ctx, source);
  TarReader reader(hashed, limits);
  ExpectedTree tree(limits);
  TarEntry entry;
  bool is_intact = !source.header().is_lossy;
  bool more = true;
  while (more) {
    ASSIGN_OR_RETURN(more, reader.Next(entry));
    // These are of entries before this one.
    for (auto& [path, problem] : source.TakeProblems()) {
      is_intact = false;
      tree.Blame(path, std::move(problem));
    }
    if (more) {
      RETURN_IF_ERROR(tree.Add(entry));
    }
  }
  tree.Finish();
  const oci::Digest found = hashed.Finish();
  if (is_intact && found != diff_id) {
    return absl::DataLossError(
        fmt::format("the layer's recipe is not that of '{}': its files are what was unpacked, and "
                    "they make '{}'",
                    diff_id.ToString(), found.ToString()));
  }
  Checker checker(ctx, tree, max_problems);
  RETURN_IF_ERROR(checker.Run(root_fd));
  return checker.TakeProblems();
}

}  // namespace berth::archive
