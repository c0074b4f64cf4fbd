// Rollback: undoes a half-made object. Steps run in reverse order unless Commit() is called; a
// failed step does not stop the others. The caller keeps the error that made it give up; Rollback
// only logs its own.
//
//   Rollback undo("create container 'a1b2'");
//   undo.Push("unmount rootfs", [&] { return Unmount(path); });
//   ...
//   undo.Commit();
//
// Threads: one owner. Steps must bound their own time.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace berth::base {

class Rollback {
 public:
  explicit Rollback(std::string what) : what_(std::move(what)) {}
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() { Run(); }

  void Push(std::string step, std::function<absl::Status()> undo) {
    steps_.emplace_back(std::move(step), std::move(undo));
  }
  void Commit() { steps_.clear(); }
  // Runs what was pushed, now. Called by the destructor.
  void Run();

 private:
  std::string what_;
  std::vector<std::pair<std::string, std::function<absl::Status()>>> steps_;
};

}  // namespace berth::base
