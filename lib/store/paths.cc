#include "lib/store/paths.h"

#include "fmt/format.h"

namespace berth::store {

absl::StatusOr<std::string> LogPath(const std::string& log_directory, const std::string& log_path) {
  if (log_directory.empty() || log_path.empty()) {
    return std::string();
  }
  if (log_directory[0] != '/') {
    return absl::InvalidArgumentError(
        fmt::format("log directory '{}' is not an absolute path", log_directory));
  }
  bool leaves = log_path[0] == '/' || log_path.find('\0') != std::string::npos;
  for (size_t begin = 0; begin <= log_path.size();) {
    const size_t end = std::min(log_path.find('/', begin), log_path.size());
    leaves |= log_path.substr(begin, end - begin) == "..";
    begin = end + 1;
  }
  if (leaves) {
    return absl::InvalidArgumentError(
        fmt::format("log path '{}' leaves the pod's log directory '{}'; give a path below it",
                    log_path, log_directory));
  }
  return log_directory + (log_directory.back() == '/' ? "" : "/") + log_path;
}

}  // namespace berth::store
