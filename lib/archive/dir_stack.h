// DirStack: the directory an entry goes to, as a descriptor. Keeps the descriptors of the last path
// open, so that entries in the same or a neighbouring directory cost no look-up.
//
// Every step is an openat of one name that does not follow symlinks. Only where this layer made a
// symlink of a directory on the way is the path resolved by the kernel, with the layer's root as
// "/". What is remembered are descriptors, which stay with their directory whatever happens to its
// name; when an entry is replaced or removed the caller calls Forget(), so that nothing is written
// into a directory that is gone.
//
// Threads: one owner. Ownership: borrows root_fd.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/unique_fd.h"

namespace berth::archive {

class DirStack {
 public:
  // What Open() did about a directory that was not there.
  struct Made {
    std::string path;
    bool was_whiteout = false;  // it took the place of a whiteout and is opaque
  };

  explicit DirStack(int root_fd) : root_fd_(root_fd) {}

  // An O_PATH descriptor of the directory `clean` ("" is the root), valid until the next call. With
  // `made`, missing directories are created (0755) and appended to it; without, they are kNotFound.
  // kInvalidArgument: a component is neither a directory nor a symlink to one in this layer.
  absl::StatusOr<int> Open(std::string_view clean, std::vector<Made>* made);
  void Forget();
  // Whether the last Open() came by way of a symlink.
  bool by_symlink() const { return !levels_.empty() && levels_.back().by_symlink; }

 private:
  struct Level {
    size_t end;  // this level's path is path_[0, end)
    base::UniqueFd fd;
    bool by_symlink = false;  // here or above
  };
  // Sets by_symlink when the name is one.
  absl::StatusOr<base::UniqueFd> Step(int parent_fd, const std::string& name,
                                      const std::string& path, std::vector<Made>* made,
                                      bool& by_symlink) const;

  const int root_fd_;
  std::string path_;
  std::vector<Level> levels_;
};

}  // namespace berth::archive
