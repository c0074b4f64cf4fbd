// ProbeCache: what OCI runtimes said of themselves, kept over a restart of berthd, so that it starts
// none of them to serve.
//
// An answer holds as long as the program is the same file (device, inode, size, time of change). Of
// scripts nothing is kept: they may start anything. The file belongs into the state directory, which
// a reboot empties, for features depend on the kernel too. A file that cannot be read is no error:
// the runtimes are asked again.
//
// Threads: one owner. Blocking: small files.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "lib/runtime/runtime_handlers.h"

namespace berth::runtime {

class ProbeCache {
 public:
  struct Answer {
    std::string version;
    HandlerFeatures features;
    bool operator==(const Answer&) const = default;
  };

  // "": remembers nothing.
  explicit ProbeCache(std::string path);

  std::optional<Answer> Find(const std::string& program) const;
  void Put(const std::string& program, const Answer& answer);
  // Writes the file when something was put.
  absl::Status Save() const;

 private:
  const std::string path_;
  std::map<std::string, Answer> answers_;  // by what makes a program the same
  bool changed_ = false;
};

}  // namespace berth::runtime
