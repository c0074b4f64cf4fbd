// HookDirs: the OCI hooks of this node, from directories of definitions (*.json).
//
// The files are read for every container, so that changes count at once: there are few, most nodes
// have none. A file replaces one of the same name in an earlier directory. Hooks run in the order
// of their files' names. A file or directory that cannot be used is left out, with one warning for
// each that names it, and another one when it is wrong in another way.
//
// Threads: thread-safe; blocks on the disk. Limits: kMaxHookFileBytes, 1000 files per directory.
// Source: oci-hooks(5).
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "lib/base/mutex.h"
#include "lib/hooks/hook_file.h"
#include "lib/model/edits.h"

namespace berth::hooks {

inline constexpr size_t kMaxHookFileBytes = 1 << 20;

class HookDirs {
 public:
  explicit HookDirs(std::vector<std::string> dirs) : dirs_(std::move(dirs)) {}

  // What runs for a container.
  model::Hooks Matching(const HookQuery& query);

 private:
  std::map<std::string, std::string> Files();  // name -> path
  void Warn(const std::string& path, const absl::Status& error);

  const std::vector<std::string> dirs_;
  base::Mutex mu_;
  std::map<std::string, std::string> warned_ ABSL_GUARDED_BY(mu_);  // path -> what was told
};

}  // namespace berth::hooks
