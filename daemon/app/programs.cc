#include "daemon/app/programs.h"

#include <limits.h>
#include <unistd.h>

#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace berth::app {

absl::StatusOr<std::string> FindOwnProgram(const std::string& configured, const std::string& name,
                                           const std::string& folder) {
  std::vector<std::string> places;
  if (!configured.empty()) {
    places = {configured};
  } else {
    char self[PATH_MAX] = {};
    const ssize_t size = ::readlink("/proc/self/exe", self, sizeof(self) - 1);
    const std::string exe(self, size > 0 ? static_cast<size_t>(size) : 0);
    const std::string dir = exe.substr(0, exe.rfind('/'));
    places = {dir + "/../libexec/berth/" + name, BERTH_LIBEXECDIR "/" + name, dir + "/" + name,
              dir + "/../" + folder + "/" + name};
  }
  for (const std::string& place : places) {
    if (::access(place.c_str(), X_OK) == 0) {
      char* real = ::realpath(place.c_str(), nullptr);
      std::string path = real == nullptr ? place : real;
      ::free(real);
      return path;
    }
  }
  return absl::NotFoundError(fmt::format(
      "find program '{}': it is none of {}; install berth whole, or set it in [runtime]", name,
      fmt::join(places, ", ")));
}

}  // namespace berth::app
