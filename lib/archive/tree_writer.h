// TreeWriter: puts the entries of a layer's tar beneath a root directory. See layer_extractor.h for
// what it does with each kind. tree_directories.cc has directories, tree_writer.cc the rest.
//
// Threads: one owner, on a thread whose umask is 0. Ownership: borrows root_fd and recipe. Errors:
// as LayerExtractor.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/archive/dir_stack.h"
#include "lib/archive/entry_path.h"
#include "lib/archive/layer_limits.h"
#include "lib/archive/recipe_writer.h"
#include "lib/archive/tar_reader.h"

namespace berth::archive {

class TreeWriter {
 public:
  // recipe: may be null; is told of files' contents and of what is replaced.
  TreeWriter(int root_fd, const LayerLimits& limits, RecipeWriter* recipe);

  // Puts one entry in place; reads its content from `reader`.
  absl::Status Add(const TarEntry& entry, TarReader& reader);
  // Gives directories their owners, modes, attributes and times. After the last Add.
  absl::Status Finish();

  uint64_t bytes() const { return bytes_; }
  uint64_t inodes() const { return inodes_; }
  std::vector<std::string> implicit_dirs() const { return {implicit_.begin(), implicit_.end()}; }

 private:
  // What a directory gets at the end: what is written into it would change its time.
  struct PendingDir {
    ino_t inode;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    struct timespec mtime;
    std::vector<std::pair<std::string, std::string>> xattrs;
  };
  // Where an entry goes.
  struct Place {
    int parent_fd;
    std::string name;
    const std::string& path;  // for messages
  };

  static constexpr uint64_t kBlock = 4096;

  static absl::Status Failed(int error, std::string_view verb, std::string_view path);
  absl::Status AddWhiteout(const Whiteout& whiteout, std::string_view parent);
  absl::Status AddDirectory(const TarEntry& entry, const std::string& path);
  absl::Status AddFile(const TarEntry& entry, const Place& place, TarReader& reader);
  absl::Status WriteContent(int fd, const TarEntry& entry, const Place& place, TarReader& reader);
  absl::Status AddSymlink(const TarEntry& entry, const Place& place);
  absl::Status AddHardLink(const TarEntry& entry, const Place& place);
  absl::Status AddNode(const TarEntry& entry, const Place& place);
  // Owner and time of what is not opened: symlinks, devices, fifos.
  absl::Status SetOwnerAndTime(const TarEntry& entry, const Place& place) const;

  absl::StatusOr<int> OpenParent(std::string_view parent);
  // Removes what an earlier entry put there. `replaced_whiteout`: it was a whiteout.
  absl::Status ClearWay(const Place& place, bool* replaced_whiteout);
  absl::Status RemoveAt(int parent_fd, const std::string& name, const std::string& path,
                        size_t depth);
  absl::Status FinishDirectory(const std::string& path, const PendingDir& pending) const;
  absl::Status ChargeDirectory(size_t bytes);

  const int root_fd_;
  const LayerLimits& limits_;
  RecipeWriter* const recipe_;
  DirStack dirs_;
  DirStack link_dirs_;  // of hard links' targets, which are often elsewhere
  std::map<std::string, PendingDir> pending_;
  std::set<std::string> implicit_;
  size_t directory_bytes_ = 0;
  uint64_t entries_ = 0;
  uint64_t file_bytes_ = 0;
  uint64_t bytes_ = 0;
  uint64_t inodes_ = 0;
};

}  // namespace berth::archive
