#include "lib/snapshot/overlay_snapshotter.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/mount/overlay_marks.h"

namespace berth::snapshot {

namespace {

constexpr LayerNumber kEmptyLayer = 0;
// Following what an image's xattrs say about other places of a layer is never needed: layers come
// from archives.
constexpr std::string_view kSafeOptions = "index=off,metacopy=off,redirect_dir=nofollow";

// A directory's name as a layer number; nothing for other names.
std::optional<LayerNumber> ToNumber(const std::string& name) {
  LayerNumber number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool whole = error == std::errc() && end == name.data() + name.size();
  return whole && number >= 0 && name == std::to_string(number) ? std::optional<LayerNumber>(number)
                                                                : std::nullopt;
}

// Commas separate mount options, and a backslash quotes one.
std::string Quote(const std::string& path) {
  std::string quoted;
  for (const char c : path) {
    if (c == ',' || c == '\\') {
      quoted.push_back('\\');
    }
    quoted.push_back(c);
  }
  return quoted;
}

// Asks ext4 to put each directory in it into a part of the disk of its own (chattr +T). Otherwise
// all layers share their parent's: layers that are unpacked side by side wait for one another's
// inodes, and a search for a free one walks over all that were deleted there a moment ago, which
// after a removal took nine tenths of a pull's time. Other file systems refuse, and need it not.
void SpreadChildren(const std::string& path) {
  const absl::StatusOr<base::UniqueFd> fd = base::OpenFile(path, O_RDONLY | O_DIRECTORY);
  int flags = 0;
  if (fd.ok() && ::ioctl(fd->get(), FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_TOPDIR_FL) == 0) {
    flags |= FS_TOPDIR_FL;
    ::ioctl(fd->get(), FS_IOC_SETFLAGS, &flags);
  }
}

}  // namespace

OverlaySnapshotter::OverlaySnapshotter(std::string layers_path, mount::Mounter& mounter)
    : layers_path_(std::move(layers_path)), mounter_(mounter) {}

absl::Status OverlaySnapshotter::Prepare() {
  RETURN_IF_ERROR(base::MakeDirs(layers_path_, 0700));
  SpreadChildren(layers_path_);
  const std::string empty = LayerPath(kEmptyLayer);
  if (::mkdir(empty.c_str(), 0755) == 0) {
    // mkdir's mode went through the umask; a container's root directory looks like this one.
    return ::chmod(empty.c_str(), 0755) == 0
               ? absl::OkStatus()
               : base::ErrnoStatus(errno, fmt::format("make '{}'", empty));
  }
  return errno == EEXIST ? absl::OkStatus()
                         : base::ErrnoStatus(errno, fmt::format("make '{}'", empty));
}

std::string OverlaySnapshotter::LayerPath(LayerNumber number) const {
  return fmt::format("{}/{}", layers_path_, number);
}

absl::StatusOr<base::UniqueFd> OverlaySnapshotter::NewLayerDir(LayerNumber number) {
  BERTH_CHECK(number > kEmptyLayer);
  const std::string path = LayerPath(number);
  RETURN_IF_ERROR(base::Annotate(base::RemoveTree(path), fmt::format("remove layer {}", number)));
  if (::mkdir(path.c_str(), 0755) != 0) {
    return base::ErrnoStatus(errno, fmt::format("make layer directory '{}'", path));
  }
  ASSIGN_OR_RETURN(base::UniqueFd fd, base::OpenFile(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  // The parent's setgid bit and the umask are not the layer's.
  if (::fchown(fd.get(), 0, 0) != 0 || ::fchmod(fd.get(), 0755) != 0) {
    return base::ErrnoStatus(errno, fmt::format("make layer directory '{}'", path));
  }
  return fd;
}

absl::StatusOr<base::UniqueFd> OverlaySnapshotter::OpenLayerDir(LayerNumber number) const {
  return base::OpenFile(LayerPath(number), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

absl::StatusOr<base::UniqueFd> OverlaySnapshotter::OpenLayers() const {
  return base::OpenFile(layers_path_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

absl::StatusOr<std::vector<std::string>> OverlaySnapshotter::StrayLayers(
    const std::set<LayerNumber>& known) const {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, base::ListDir(layers_path_));
  std::vector<std::string> strays;
  for (const std::string& name : names) {
    const std::optional<LayerNumber> number = ToNumber(name);
    if (number != kEmptyLayer && (!number.has_value() || known.count(*number) == 0)) {
      strays.push_back(layers_path_ + "/" + name);
    }
  }
  return strays;
}

absl::StatusOr<std::string> OverlaySnapshotter::LowerDirs(
    const std::vector<LayerNumber>& layers) const {
  std::string lower;
  std::set<LayerNumber> seen;
  for (const LayerNumber number : layers) {
    // overlayfs refuses a directory twice, and the upper of the two hides all that is in the lower
    // one.
    if (!seen.insert(number).second) {
      continue;
    }
    ASSIGN_OR_RETURN(const base::UniqueFd fd, OpenLayerDir(number));
    lower += fmt::format("{}{}", lower.empty() ? "" : ":", number);
    // overlayfs does not look at this mark on the root directory of a layer: what is below is left
    // out here.
    ASSIGN_OR_RETURN(const bool hides_all, mount::IsOpaque(fd.get()));
    if (hides_all) {
      break;
    }
  }
  return lower.empty() ? std::to_string(kEmptyLayer) : lower;
}

const std::string& OverlaySnapshotter::ViewOf(const RootfsSpec& spec) const {
  return spec.layers_view.empty() ? layers_path_ : spec.layers_view;
}

absl::Status OverlaySnapshotter::PrepareWritable(const RootfsSpec& spec) const {
  RETURN_IF_ERROR(base::MakeDirs(spec.work, 0700));
  if (base::PathExists(spec.upper)) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(base::MakeDirs(spec.upper, 0700));
  struct stat st;
  const std::string top =
      fmt::format("{}/{}", ViewOf(spec), spec.layers.empty() ? kEmptyLayer : spec.layers.front());
  if (::stat(top.c_str(), &st) != 0 || ::lchown(spec.upper.c_str(), st.st_uid, st.st_gid) != 0 ||
      ::chmod(spec.upper.c_str(), st.st_mode & 07777) != 0) {
    return base::ErrnoStatus(errno, fmt::format("prepare '{}' like '{}'", spec.upper, top));
  }
  return absl::OkStatus();
}

// Without a writable layer overlayfs wants two directories at least, and different ones: an image
// without layers is a bind of the one empty directory.
absl::StatusOr<mount::MountRequest> OverlaySnapshotter::ReadOnlyRequest(
    const RootfsSpec& spec) const {
  ASSIGN_OR_RETURN(const std::string lower, LowerDirs(spec.layers));
  mount::MountRequest request;
  request.flags = MS_RDONLY;
  if (lower == "0") {
    request.source = fmt::format("{}/{}", ViewOf(spec), kEmptyLayer);
    request.flags |= MS_BIND;
    return request;
  }
  const bool is_single = lower.find(':') == std::string::npos;
  request.source = "overlay";
  request.fstype = "overlay";
  request.options = fmt::format("lowerdir={}{},{}", lower, is_single ? ":0" : "", kSafeOptions);
  request.working_directory = ViewOf(spec);
  return request;
}

absl::Status OverlaySnapshotter::MountAt(mount::MountRequest request, const std::string& target,
                                         const std::string& option) {
  request.target = target;
  if (!option.empty() && (request.flags & MS_BIND) == 0) {
    request.options += "," + option;
  }
  RETURN_IF_ERROR(base::MakeDirs(target, 0700));
  RETURN_IF_ERROR(mounter_.Mount(request));
  if ((request.flags & MS_BIND) != 0) {
    // A bind gets its options only by a second step.
    request.flags |= MS_REMOUNT;
    if (const absl::Status status = mounter_.Mount(request); !status.ok()) {
      mounter_.Unmount(target, true).IgnoreError();
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status OverlaySnapshotter::MountRootfs(const base::OpContext& ctx, const RootfsSpec& spec) {
  const auto attempt = [&]() -> absl::Status {
    RETURN_IF_ERROR(ctx.Check());
    if (spec.upper.empty()) {
      ASSIGN_OR_RETURN(mount::MountRequest request, ReadOnlyRequest(spec));
      return MountAt(std::move(request), spec.target, spec.option);
    }
    ASSIGN_OR_RETURN(const std::string lower, LowerDirs(spec.layers));
    RETURN_IF_ERROR(PrepareWritable(spec));
    mount::MountRequest request;
    request.source = "overlay";
    request.fstype = "overlay";
    request.flags = spec.read_only ? MS_RDONLY : 0;
    request.options =
        fmt::format("lowerdir={},upperdir={},workdir={},{}{}", lower, Quote(spec.upper),
                    Quote(spec.work), kSafeOptions, spec.is_volatile ? ",volatile" : "");
    request.working_directory = ViewOf(spec);
    return MountAt(std::move(request), spec.target, spec.option);
  };
  return base::Annotate(attempt(), fmt::format("mount root filesystem at '{}'", spec.target));
}

absl::Status OverlaySnapshotter::MountVolume(const base::OpContext& ctx, const RootfsSpec& spec) {
  const auto attempt = [&]() -> absl::Status {
    RETURN_IF_ERROR(ctx.Check());
    ASSIGN_OR_RETURN(mount::MountRequest request, ReadOnlyRequest(spec));
    request.flags |= MS_NOSUID | MS_NODEV | MS_NOEXEC;
    return MountAt(std::move(request), spec.target, spec.option);
  };
  return base::Annotate(attempt(), fmt::format("mount image volume at '{}'", spec.target));
}

absl::Status OverlaySnapshotter::Unmount(const std::string& target) {
  const absl::Status status = mounter_.Unmount(target, false);
  return absl::IsFailedPrecondition(status) ? mounter_.Unmount(target, true) : status;
}

absl::Status OverlaySnapshotter::UnmountRootfs(const std::string& target) {
  return base::Annotate(Unmount(target), "unmount root filesystem");
}

absl::Status OverlaySnapshotter::UnmountVolume(const std::string& target) {
  return base::Annotate(Unmount(target), "unmount image volume");
}

}  // namespace berth::snapshot
