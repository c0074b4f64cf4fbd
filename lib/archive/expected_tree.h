// ExpectedTree: what a layer's directory should look like, told from its archive in memory, entry
// by entry, with the rules of TreeWriter: symlinks on the way, replacements, hard links, whiteouts.
// Only for archives that were unpacked without an error.
//
// Memory: some 300 bytes for each name; 512 MiB at most. Threads: one owner.
// Errors: kDataLoss: no such archive could have been unpacked; kResourceExhausted: too many names.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/archive/layer_limits.h"
#include "lib/archive/tar_reader.h"

namespace berth::archive {

class ExpectedTree {
 public:
  // What one or more names stand for.
  struct Node {
    mode_t type = 0;           // S_IFREG, ...; a whiteout is a character device 0:0
    bool is_described = true;  // else a directory that no entry describes, or a whiteout
    bool is_opaque = false;
    mode_t mode = 0;
    uid_t uid = 0;
    gid_t gid = 0;
    struct timespec mtime = {0, 0};
    dev_t device = 0;
    uint64_t size = 0;
    std::string link;
    std::map<std::string, std::string> xattrs;  // those that are kept
    uint64_t names = 0;
    std::string content_problem;
    ino_t inode = 0;  // on disk, once it was seen
  };
  struct Name {
    std::shared_ptr<Node> node;
    bool was_seen = false;
  };

  explicit ExpectedTree(const LayerLimits& limits);

  absl::Status Add(const TarEntry& entry);
  // Notes what is wrong with the content of the file that is there now. The path has no symlinks.
  void Blame(const std::string& path, std::string problem);
  // After the last entry: gives directories their attributes.
  void Finish();

  // By their paths, "" is the root: a directory comes before what is in it.
  std::map<std::string, Name>& names() { return names_; }

 private:
  struct Pending {
    std::shared_ptr<Node> node;
    Node attributes;
  };
  // The path without symlinks of a directory. With `make`, what is missing is made.
  absl::StatusOr<std::string> Resolve(std::string_view path, bool make);
  absl::StatusOr<std::string> ResolveParent(std::string_view path, bool make);
  absl::Status Step(const std::string& at, bool make);
  Node* Find(const std::string& path);
  absl::Status Put(const std::string& path, std::shared_ptr<Node> node);
  // A node that takes the place of what is there.
  absl::Status Replace(const std::string& path, const std::string& clean,
                       std::shared_ptr<Node> node);
  void Remove(const std::string& path, const std::string& clean);
  absl::Status AddWhiteout(const std::string& hidden, const std::string& parent);
  absl::Status AddDirectory(const TarEntry& entry, const std::string& clean);
  absl::Status AddHardLink(const TarEntry& entry, const std::string& path,
                           const std::string& clean);

  const LayerLimits& limits_;
  std::map<std::string, Name> names_;
  std::map<std::string, Pending> pending_;  // by the path as the archive has it
  uint64_t memory_ = 0;
};

}  // namespace berth::archive
