#include "lib/archive/tree_writer.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "fmt/format.h"

#include "lib/archive/xattrs.h"
#include "lib/base/beneath.h"
#include "lib/base/status.h"
#include "lib/mount/overlay_marks.h"

namespace berth::archive {

namespace {

constexpr mode_t kSpecialBits = S_ISUID | S_ISGID | S_ISVTX;

}  // namespace

absl::Status TreeWriter::Failed(int error, std::string_view verb, std::string_view path) {
  return base::ErrnoStatus(error, fmt::format("{} '{}'", verb, path));
}

TreeWriter::TreeWriter(int root_fd, const LayerLimits& limits, RecipeWriter* recipe)
    : root_fd_(root_fd), limits_(limits), recipe_(recipe), dirs_(root_fd), link_dirs_(root_fd) {
  implicit_.insert("");
  bytes_ = kBlock;
  inodes_ = 1;
}

absl::Status TreeWriter::Add(const TarEntry& entry, TarReader& reader) {
  if (++entries_ > limits_.max_entries) {
    return absl::ResourceExhaustedError(
        fmt::format("it has more than {} entries", limits_.max_entries));
  }
  ASSIGN_OR_RETURN(const std::string path, CleanEntryPath(entry.name, limits_));
  if (path.empty()) {
    if (entry.kind != TarEntry::Kind::kDirectory) {
      return absl::InvalidArgumentError(
          fmt::format("entry '{:.256}' is the root and not a directory", entry.name));
    }
    return AddDirectory(entry, path);
  }
  ASSIGN_OR_RETURN(const Whiteout whiteout, ParseWhiteout(path));
  const auto [parent, name] = SplitEntryPath(path);
  if (whiteout.kind != Whiteout::Kind::kNone) {
    return AddWhiteout(whiteout, parent);
  }
  if (entry.kind == TarEntry::Kind::kDirectory) {
    return AddDirectory(entry, path);
  }
  ASSIGN_OR_RETURN(const int parent_fd, OpenParent(parent));
  const Place place = {parent_fd, std::string(name), path};
  switch (entry.kind) {
    case TarEntry::Kind::kFile:
      return AddFile(entry, place, reader);
    case TarEntry::Kind::kSymlink:
      return AddSymlink(entry, place);
    case TarEntry::Kind::kHardLink:
      return AddHardLink(entry, place);
    default:
      return AddNode(entry, place);
  }
}

absl::Status TreeWriter::AddWhiteout(const Whiteout& whiteout, std::string_view parent) {
  if (whiteout.kind == Whiteout::Kind::kIgnored) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const int parent_fd, OpenParent(parent));
  const std::string path(parent);
  if (whiteout.kind == Whiteout::Kind::kOpaque) {
    implicit_.erase(path);
    return mount::MarkOpaque(parent_fd, path);
  }
  if (::mknodat(parent_fd, whiteout.hidden.c_str(), S_IFCHR, makedev(0, 0)) == 0) {
    ++inodes_;
    return absl::OkStatus();
  }
  if (errno != EEXIST) {
    return Failed(errno, "make whiteout of", path + "/" + whiteout.hidden);
  }
  // It hides what lower layers have of that name, not what this one has: a file does so by being
  // there, a directory when it is opaque.
  base::UniqueFd dir(
      ::openat(parent_fd, whiteout.hidden.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir) {
    return errno == ENOTDIR ? absl::OkStatus()
                            : Failed(errno, "open", path + "/" + whiteout.hidden);
  }
  implicit_.erase(path.empty() ? whiteout.hidden : path + "/" + whiteout.hidden);
  return mount::MarkOpaque(dir.get(), path + "/" + whiteout.hidden);
}

absl::Status TreeWriter::AddFile(const TarEntry& entry, const Place& place, TarReader& reader) {
  file_bytes_ += entry.size;
  if (entry.size > limits_.max_unpacked_bytes || file_bytes_ > limits_.max_unpacked_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("its files have more than {} bytes", limits_.max_unpacked_bytes));
  }
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  base::UniqueFd fd(::openat(place.parent_fd, place.name.c_str(), kFlags, entry.mode));
  if (!fd && errno == EEXIST) {
    RETURN_IF_ERROR(ClearWay(place, nullptr));
    fd.Reset(::openat(place.parent_fd, place.name.c_str(), kFlags, entry.mode));
  }
  if (!fd) {
    return Failed(errno, "create file", place.path);
  }
  ++inodes_;
  if (recipe_ != nullptr) {
    RETURN_IF_ERROR(recipe_->BeginFile(
        {place.parent_fd, place.name, place.path, dirs_.by_symlink()}, entry.size));
  }
  RETURN_IF_ERROR(WriteContent(fd.get(), entry, place, reader));
  if (recipe_ != nullptr) {
    RETURN_IF_ERROR(recipe_->EndFile());
  }
  // New files are root's: directories that would pass a group on get their modes and owners at the
  // end.
  if (entry.uid != 0 || entry.gid != 0) {
    if (::fchown(fd.get(), entry.uid, entry.gid) != 0) {
      return Failed(errno, "set owner of", place.path);
    }
  }
  // chown clears these; the other bits the file was born with.
  if ((entry.mode & kSpecialBits) != 0 && ::fchmod(fd.get(), entry.mode) != 0) {
    return Failed(errno, "set mode of", place.path);
  }
  if (!entry.xattrs.empty()) {
    RETURN_IF_ERROR(SetXattrs(fd.get(), entry.xattrs, place.path));
  }
  const struct timespec times[2] = {entry.mtime, entry.mtime};
  if (::futimens(fd.get(), times) != 0) {
    return Failed(errno, "set times of", place.path);
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::WriteContent(int fd, const TarEntry& entry, const Place& place,
                                      TarReader& reader) {
  uint64_t end = 0;
  uint64_t offset = 0;
  uint64_t written = 0;
  std::string_view piece;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.NextPiece(offset, piece));
    if (!more) {
      break;
    }
    if (offset > entry.size || piece.size() > entry.size - offset) {
      return absl::DataLossError(
          fmt::format("content of '{}' is beyond its size of {} bytes", place.path, entry.size));
    }
    written += piece.size();
    while (!piece.empty()) {
      const ssize_t n = ::pwrite(fd, piece.data(), piece.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n < 0) {
        return Failed(errno, "write file", place.path);
      }
      offset += static_cast<uint64_t>(n);
      piece.remove_prefix(static_cast<size_t>(n));
    }
    end = std::max(end, offset);
  }
  if (end < entry.size && ::ftruncate(fd, static_cast<off_t>(entry.size)) != 0) {
    return Failed(errno, "set size of", place.path);
  }
  bytes_ += (written + kBlock - 1) / kBlock * kBlock;
  return absl::OkStatus();
}

absl::Status TreeWriter::AddSymlink(const TarEntry& entry, const Place& place) {
  if (entry.link.empty() || entry.link.size() > limits_.max_path_bytes) {
    return absl::InvalidArgumentError(
        fmt::format("symlink '{}' points to a name of {} bytes", place.path, entry.link.size()));
  }
  int result = ::symlinkat(entry.link.c_str(), place.parent_fd, place.name.c_str());
  if (result != 0 && errno == EEXIST) {
    RETURN_IF_ERROR(ClearWay(place, nullptr));
    result = ::symlinkat(entry.link.c_str(), place.parent_fd, place.name.c_str());
  }
  if (result != 0) {
    return Failed(errno, "create symlink", place.path);
  }
  ++inodes_;
  return SetOwnerAndTime(entry, place);
}

absl::Status TreeWriter::AddHardLink(const TarEntry& entry, const Place& place) {
  ASSIGN_OR_RETURN(const std::string target, CleanEntryPath(entry.link, limits_));
  const auto [parent, name_view] = SplitEntryPath(target);
  const std::string name(name_view);
  const std::string what = fmt::format("hard link '{}' to '{}'", place.path, target);
  const absl::StatusOr<int> parent_fd = link_dirs_.Open(parent, nullptr);
  struct stat st;
  if (!parent_fd.ok() && !absl::IsNotFound(parent_fd.status())) {
    return base::Annotate(parent_fd.status(), what);
  }
  if (target.empty() || !parent_fd.ok() ||
      ::fstatat(*parent_fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: the layer has no such file before it", what));
  }
  if (S_ISDIR(st.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("{}: it is a directory", what));
  }
  // Flags 0: a symlink is linked itself, not what it points to.
  int result = ::linkat(*parent_fd, name.c_str(), place.parent_fd, place.name.c_str(), 0);
  if (result != 0 && errno == EEXIST) {
    struct stat old;
    if (::fstatat(place.parent_fd, place.name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0 &&
        old.st_ino == st.st_ino) {
      return absl::OkStatus();
    }
    if (S_ISDIR(old.st_mode) && target.rfind(place.path + "/", 0) == 0) {
      return absl::InvalidArgumentError(
          fmt::format("{}: it would replace a directory above its target", what));
    }
    RETURN_IF_ERROR(ClearWay(place, nullptr));
    ASSIGN_OR_RETURN(const int again, link_dirs_.Open(parent, nullptr));
    result = ::linkat(again, name.c_str(), place.parent_fd, place.name.c_str(), 0);
  }
  return result == 0 ? absl::OkStatus() : base::ErrnoStatus(errno, what);
}

absl::Status TreeWriter::AddNode(const TarEntry& entry, const Place& place) {
  const mode_t type = entry.kind == TarEntry::Kind::kCharDevice    ? S_IFCHR
                      : entry.kind == TarEntry::Kind::kBlockDevice ? S_IFBLK
                                                                   : S_IFIFO;
  int result = ::mknodat(place.parent_fd, place.name.c_str(), type | entry.mode, entry.device);
  if (result != 0 && errno == EEXIST) {
    RETURN_IF_ERROR(ClearWay(place, nullptr));
    result = ::mknodat(place.parent_fd, place.name.c_str(), type | entry.mode, entry.device);
  }
  if (result != 0) {
    return Failed(errno, type == S_IFIFO ? "create fifo" : "create device", place.path);
  }
  ++inodes_;
  RETURN_IF_ERROR(SetOwnerAndTime(entry, place));
  // What was just made there is no symlink, and nobody else writes here.
  if ((entry.mode & kSpecialBits) != 0 &&
      ::fchmodat(place.parent_fd, place.name.c_str(), entry.mode, 0) != 0) {
    return Failed(errno, "set mode of", place.path);
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::SetOwnerAndTime(const TarEntry& entry, const Place& place) const {
  if ((entry.uid != 0 || entry.gid != 0) &&
      ::fchownat(place.parent_fd, place.name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) !=
          0) {
    return Failed(errno, "set owner of", place.path);
  }
  const struct timespec times[2] = {entry.mtime, entry.mtime};
  if (::utimensat(place.parent_fd, place.name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed(errno, "set times of", place.path);
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::ClearWay(const Place& place, bool* replaced_whiteout) {
  struct stat st;
  if (::fstatat(place.parent_fd, place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed(errno, "stat", place.path);
  }
  if (replaced_whiteout != nullptr) {
    *replaced_whiteout = mount::IsWhiteout(st);
  }
  RETURN_IF_ERROR(RemoveAt(place.parent_fd, place.name, place.path, 0));
  // dirs_ is at this entry's parent now, so it holds nothing of what is gone; link_dirs_ may be
  // anywhere.
  link_dirs_.Forget();
  if (S_ISDIR(st.st_mode)) {
    const auto gone = [&](const std::string& path) {
      return path == place.path || path.rfind(place.path + "/", 0) == 0;
    };
    std::erase_if(implicit_, gone);
    std::erase_if(pending_, [&](const auto& item) { return gone(item.first); });
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::RemoveAt(int parent_fd, const std::string& name, const std::string& path,
                                  size_t depth) {
  if (recipe_ != nullptr) {
    RETURN_IF_ERROR(recipe_->Replacing({parent_fd, name, path, dirs_.by_symlink()}));
  }
  if (::unlinkat(parent_fd, name.c_str(), 0) == 0) {
    inodes_ -= inodes_ > 0 ? 1 : 0;
    return absl::OkStatus();
  }
  if (errno != EISDIR && errno != EPERM) {
    return Failed(errno, "replace", path);
  }
  BERTH_CHECK(depth <= limits_.max_path_depth);
  const int fd = ::openat(parent_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    return Failed(errno, "replace", path);
  }
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd), ::closedir);
  if (dir == nullptr) {
    ::close(fd);
    return Failed(ENOMEM, "replace", path);
  }
  while (const dirent* item = ::readdir(dir.get())) {
    const std::string child = item->d_name;
    if (child != "." && child != "..") {
      RETURN_IF_ERROR(RemoveAt(fd, child, path + "/" + child, depth + 1));
    }
  }
  if (::unlinkat(parent_fd, name.c_str(), AT_REMOVEDIR) != 0) {
    return Failed(errno, "replace", path);
  }
  inodes_ -= inodes_ > 0 ? 1 : 0;
  return absl::OkStatus();
}

}  // namespace berth::archive
