#include "lib/store/disk_reserve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/base/file.h"
#include "lib/base/log.h"

namespace berth::store {

namespace {

// Allocated one by one, so that there is a part of the reserve where there is no room for all.
constexpr int64_t kPiece = 64 << 10;

}  // namespace

void DiskReserve::Make() {
  base::MutexLock lock(mu_);
  MakeLocked();
}

bool DiskReserve::Release() {
  base::MutexLock lock(mu_);
  return ReleaseLocked();
}

void DiskReserve::Lend(const std::function<void()>& work) {
  base::MutexLock lock(mu_);
  ReleaseLocked();
  work();
  MakeLocked();
}

void DiskReserve::MakeLocked() {
  struct stat st = {};
  // The file's length is what was allocated; open(2) would take room where there is none.
  if (::stat(path_.c_str(), &st) == 0 && st.st_size >= kBytes) {
    return;
  }
  const auto file = base::OpenFile(path_, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!file.ok()) {
    return;  // full; anything else the database says
  }
  int64_t size = st.st_size;
  while (size < kBytes && ::fallocate(file->get(), 0, size, kPiece) == 0) {
    size += kPiece;
  }
  if (size >= kBytes) {
    return;
  }
  if (errno != ENOSPC && errno != EDQUOT && !has_warned_) {
    has_warned_ = true;
    base::Log("store").warn(
        "no room is kept for removals on a full disk: at a quota images and pods may not be "
        "removable path={} error=\"{}\"",
        path_, std::strerror(errno));
  }
  if (size == 0) {
    ::unlink(path_.c_str());
  }
}

bool DiskReserve::ReleaseLocked() {
  if (::unlink(path_.c_str()) != 0) {
    return false;
  }
  base::Log("store").warn("the disk is full, its reserve is used for what gives room back path={}",
                          path_);
  const auto directory = base::OpenFile(path_.substr(0, path_.rfind('/')), O_RDONLY | O_DIRECTORY);
  if (directory.ok()) {
    ::syncfs(directory->get());  // its failure is its owner's to hear: LayerFiles, the database
  }
  return true;
}

}  // namespace berth::store
