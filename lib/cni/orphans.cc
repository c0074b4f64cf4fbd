#include "lib/cni/orphans.h"

#include <chrono>
#include <string_view>
#include <thread>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::cni {

namespace {

constexpr size_t kMaxEnvironment = 1 << 20;
constexpr absl::Duration kLookAgain = absl::Milliseconds(50);

bool HasVariable(std::string_view environment, std::string_view variable) {
  while (!environment.empty()) {
    const std::string_view entry = environment.substr(0, environment.find('\0'));
    if (entry == variable) {
      return true;
    }
    environment.remove_prefix(std::min(environment.size(), entry.size() + 1));
  }
  return false;
}

// The pid of one of them, or "".
absl::StatusOr<std::string> FindOrphan(const std::string& pod_id, const std::string& proc) {
  const std::string variable = "CNI_CONTAINERID=" + pod_id;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, base::ListDir(proc));
  for (const std::string& name : names) {
    if (name.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    // One that has ended meanwhile has no environment.
    const auto environment = base::ReadFile(proc + "/" + name + "/environ", kMaxEnvironment);
    if (environment.ok() && HasVariable(*environment, variable)) {
      return name;
    }
  }
  return std::string();
}

}  // namespace

absl::Status AwaitOrphans(const base::OpContext& ctx, const std::string& pod_id,
                          const std::string& proc) {
  while (true) {
    ASSIGN_OR_RETURN(const std::string pid, FindOrphan(pod_id, proc));
    if (pid.empty()) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(base::Annotate(
        ctx.Check(),
        fmt::format("wait for CNI plugin, process {}, of pod sandbox '{}'", pid, pod_id)));
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kLookAgain));
  }
}

}  // namespace berth::cni
