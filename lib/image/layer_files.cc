#include "lib/image/layer_files.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/id.h"
#include "lib/base/log.h"
#include "lib/base/remove_tree.h"
#include "lib/base/status.h"

namespace berth::image {

namespace {

std::string TrashName(int64_t number, const snapshot::Usage& usage) {
  return fmt::format("{}-{}-{}-{}", number, usage.bytes, usage.inodes,
                     base::GenerateId().substr(0, 8));
}

snapshot::Usage UsageOf(const std::string& trash_name) {
  int64_t number = 0;
  snapshot::Usage usage;
  const bool is_ours = std::sscanf(trash_name.c_str(), "%" SCNd64 "-%" SCNu64 "-%" SCNu64 "-",
                                   &number, &usage.bytes, &usage.inodes) == 3;
  return is_ours ? usage : snapshot::Usage();
}

absl::Status SyncFileSystem(int fd) {
  return ::syncfs(fd) == 0 ? absl::OkStatus() : base::ErrnoStatus(errno, "syncfs");
}

bool IsFull(int error) { return error == ENOSPC || error == EDQUOT; }

constexpr int kLowest = 19;
void SetPriorityOfThisThread(int nice) {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), nice);
}

}  // namespace

LayerFiles::LayerFiles(snapshot::OverlaySnapshotter& snapshotter, std::string recipes_path,
                       std::string trash_path, std::function<absl::Status(int fd)> sync,
                       store::DiskReserve* reserve)
    : snapshotter_(snapshotter),
      recipes_path_(std::move(recipes_path)),
      trash_path_(std::move(trash_path)),
      sync_(sync ? std::move(sync) : SyncFileSystem),
      reserve_(reserve),
      deletion_([this] { return Delete(); }) {}

LayerFiles::~LayerFiles() {
  is_stopping_ = true;
  deletion_.Stop();
}

absl::StatusOr<int> LayerFiles::Prepare(const std::set<int64_t>& known) {
  RETURN_IF_ERROR(base::MakeDirs(recipes_path_, 0700));
  RETURN_IF_ERROR(base::MakeDirs(trash_path_, 0700));
  RETURN_IF_ERROR(OpenForSync());
  ASSIGN_OR_RETURN(const std::vector<std::string> doomed, base::ListDir(trash_path_));
  {
    base::MutexLock lock(mu_);
    for (const std::string& name : doomed) {
      const snapshot::Usage usage = UsageOf(name);
      trash_.push_back({trash_path_ + "/" + name, usage});
      doomed_.bytes += usage.bytes;
      doomed_.inodes += usage.inodes;
    }
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> strays, snapshotter_.StrayLayers(known));
  for (const std::string& path : strays) {
    RETURN_IF_ERROR(Move(path, TrashName(0, {}), {}));
  }
  std::set<std::string> names;
  for (const int64_t number : known) {
    names.insert(std::to_string(number));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> recipes, base::ListDir(recipes_path_));
  for (const std::string& name : recipes) {
    if (names.count(name) == 0) {
      RETURN_IF_ERROR(base::RemoveTree(recipes_path_ + "/" + name));
    }
  }
  deletion_.Request();
  return static_cast<int>(strays.size());
}

absl::Status LayerFiles::OpenForSync() {
  sync_fds_.clear();
  ASSIGN_OR_RETURN(base::UniqueFd layers, snapshotter_.OpenLayers());
  ASSIGN_OR_RETURN(base::UniqueFd recipes,
                   base::OpenFile(recipes_path_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  struct stat of_layers;
  struct stat of_recipes;
  if (::fstat(layers.get(), &of_layers) != 0 || ::fstat(recipes.get(), &of_recipes) != 0) {
    return base::ErrnoStatus(errno, fmt::format("stat '{}'", recipes_path_));
  }
  sync_fds_.push_back(std::move(layers));
  if (of_layers.st_dev != of_recipes.st_dev) {
    sync_fds_.push_back(std::move(recipes));
  }
  return absl::OkStatus();
}

absl::Status LayerFiles::Sync() {
  for (const base::UniqueFd& fd : sync_fds_) {
    RETURN_IF_ERROR(base::Annotate(sync_(fd.get()), "write layers to the disk"));
  }
  MakeReserve();
  return absl::OkStatus();
}

void LayerFiles::MakeReserve() {
  if (reserve_ != nullptr) {
    reserve_->Make();
  }
}

absl::StatusOr<LayerFiles::NewLayer> LayerFiles::Make(int64_t number) {
  NewLayer layer;
  ASSIGN_OR_RETURN(layer.root, snapshotter_.NewLayerDir(number));
  const std::string recipe = fmt::format("{}/{}", recipes_path_, number);
  RETURN_IF_ERROR(base::RemoveFile(recipe));
  ASSIGN_OR_RETURN(layer.recipe,
                   base::OpenFile(recipe, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return layer;
}

void LayerFiles::Announce(const store::LayerRecord& layer) {
  base::MutexLock lock(mu_);
  doomed_.bytes += layer.size_bytes;
  doomed_.inodes += layer.inodes;
}

absl::Status LayerFiles::Move(const std::string& path, const std::string& name,
                              const snapshot::Usage& usage) {
  std::string target = trash_path_ + "/" + name;
  int result = ::rename(path.c_str(), target.c_str());
  if (result != 0 && errno == EXDEV) {
    target = path.substr(0, path.rfind('/')) + "/removing-" + name;
    result = ::rename(path.c_str(), target.c_str());
  }
  if (result != 0 && IsFull(errno) && reserve_ != nullptr) {
    reserve_->Release();
    result = ::rename(path.c_str(), target.c_str());
  }
  if (result != 0 && IsFull(errno)) {
    // At a quota btrfs refuses a rename and grants the removal. Cut off, it leaves a directory that
    // no record names, as a stray one.
    target = path;
    result = 0;
  }
  if (result != 0) {
    return base::ErrnoStatus(errno, fmt::format("rename '{}' to '{}'", path, target));
  }
  base::MutexLock lock(mu_);
  trash_.push_back({target, usage});
  return absl::OkStatus();
}

void LayerFiles::MoveToTrash(const store::LayerRecord& layer) {
  const snapshot::Usage usage = {layer.size_bytes, layer.inodes};
  absl::Status status = base::RemoveFile(fmt::format("{}/{}", recipes_path_, layer.number));
  status.Update(Move(snapshotter_.LayerPath(layer.number), TrashName(layer.number, usage), usage));
  if (!status.ok() && !absl::IsNotFound(status)) {
    base::Log("image").warn("cannot remove a layer, leaving it to the next start layer={} error={}",
                            layer.number, status.ToString());
  }
  deletion_.Request();
}

snapshot::Usage LayerFiles::Doomed() const {
  base::MutexLock lock(mu_);
  return doomed_;
}

bool LayerFiles::IsDiskShort() const {
  constexpr uint64_t kFreePercent = 20;
  struct statvfs fs;
  if (sync_fds_.empty() || ::fstatvfs(sync_fds_.front().get(), &fs) != 0) {
    return false;
  }
  return uint64_t{fs.f_bavail} * 100 < uint64_t{fs.f_blocks} * kFreePercent ||
         uint64_t{fs.f_favail} * 100 < uint64_t{fs.f_files} * kFreePercent;
}

absl::Status LayerFiles::Delete() {
  const base::OpContext ctx(absl::InfiniteFuture(), [this] { return is_stopping_.load(); });
  while (!is_stopping_) {
    Entry entry;
    {
      base::MutexLock lock(mu_);
      if (trash_.empty()) {
        break;
      }
      entry = std::move(trash_.front());
      trash_.pop_front();
    }
    // Whoever else wants a processor comes first, unless somebody needs the room.
    SetPriorityOfThisThread(IsDiskShort() ? 0 : kLowest);
    const absl::Status status = base::RemoveTree(ctx, entry.path);
    if (status.ok()) {
      base::MutexLock lock(mu_);
      doomed_.bytes -= entry.usage.bytes;
      doomed_.inodes -= entry.usage.inodes;
    } else if (!is_stopping_) {
      base::Log("image").warn(
          "cannot delete a removed layer, leaving it to the next start error={}",
          status.ToString());
    }
  }
  if (!is_stopping_) {
    MakeReserve();
  }
  return absl::OkStatus();
}

}  // namespace berth::image
