// OverlaySnapshotter::MeasureTree.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <set>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/snapshot/overlay_snapshotter.h"

namespace berth::snapshot {

namespace {

// One descriptor per level: a container can nest directories deeper than the daemon has
// descriptors, so what lies below this is not counted.
constexpr int kMaxDepth = 200;
constexpr uint64_t kStatBlock = 512;
// Entries between two looks at whether the caller still waits: one directory may hold millions.
constexpr uint64_t kEntriesPerCheck = 128;

class Walk {
 public:
  Walk(const base::OpContext& ctx, dev_t device) : ctx_(ctx), device_(device) {}

  // What vanishes meanwhile is not counted: containers keep writing.
  absl::Status Directory(int fd, int depth) {
    RETURN_IF_ERROR(ctx_.Check());
    base::UniqueFd own(::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC));
    if (!own) {
      return errno == ENOENT ? absl::OkStatus() : base::ErrnoStatus(errno, "open directory");
    }
    std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(own.get()), ::closedir);
    if (dir == nullptr) {
      return base::ErrnoStatus(errno, "read directory");
    }
    const int dir_fd = own.Release();
    while (const dirent* item = ::readdir(dir.get())) {
      const std::string_view name = item->d_name;
      if (name != "." && name != "..") {
        RETURN_IF_ERROR(Entry(dir_fd, item->d_name, depth));
      }
    }
    return absl::OkStatus();
  }

  void Count(const struct stat& st) {
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !seen_.insert(st.st_ino).second) {
      return;
    }
    usage_.bytes += static_cast<uint64_t>(st.st_blocks) * kStatBlock;
    ++usage_.inodes;
  }
  const Usage& usage() const { return usage_; }

 private:
  absl::Status Entry(int dir_fd, const char* name, int depth) {
    struct stat st;
    if (::fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) {
      return errno == ENOENT ? absl::OkStatus()
                             : base::ErrnoStatus(errno, fmt::format("stat '{}'", name));
    }
    if (st.st_dev != device_) {
      return absl::OkStatus();
    }
    Count(st);
    if (++entries_ % kEntriesPerCheck == 0) {
      RETURN_IF_ERROR(ctx_.Check());
    }
    if (!S_ISDIR(st.st_mode) || depth >= kMaxDepth) {
      return absl::OkStatus();
    }
    base::UniqueFd child(::openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child) {
      return errno == ENOENT || errno == ENOTDIR
                 ? absl::OkStatus()
                 : base::ErrnoStatus(errno, fmt::format("open '{}'", name));
    }
    return Directory(child.get(), depth + 1);
  }

  const base::OpContext& ctx_;
  const dev_t device_;
  Usage usage_;
  uint64_t entries_ = 0;
  std::set<ino_t> seen_;  // files with several names
};

}  // namespace

absl::StatusOr<Usage> OverlaySnapshotter::MeasureTree(const base::OpContext& ctx,
                                                      const std::string& path) {
  const std::string what = fmt::format("measure '{}'", path);
  base::UniqueFd root(::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st;
  if (!root || ::fstat(root.get(), &st) != 0) {
    return base::ErrnoStatus(errno, what);
  }
  Walk walk(ctx, st.st_dev);
  walk.Count(st);
  RETURN_IF_ERROR(base::Annotate(walk.Directory(root.get(), 0), what));
  return walk.usage();
}

}  // namespace berth::snapshot
