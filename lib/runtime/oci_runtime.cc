#include "lib/runtime/oci_runtime.h"

#include <cstdlib>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::runtime {

std::vector<std::string> RuntimeEnvironment() {
  const char* path = std::getenv("PATH");
  std::vector<std::string> env = {fmt::format(
      "PATH={}",
      path != nullptr ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")};
  for (const char* name : {"TZ", "XDG_RUNTIME_DIR", "DBUS_SYSTEM_BUS_ADDRESS"}) {
    if (const char* value = std::getenv(name); value != nullptr) {
      env.push_back(fmt::format("{}={}", name, value));
    }
  }
  return env;
}

std::vector<std::string> WithScratch(std::vector<std::string> env, const std::string& scratch_dir) {
  if (!scratch_dir.empty()) {
    env.push_back("_LIBCONTAINER_STATEDIR=" + scratch_dir);
  }
  return env;
}

std::vector<std::string> OciRuntime::Environment() const {
  return WithScratch(options_.env.empty() ? RuntimeEnvironment() : options_.env,
                     options_.scratch_dir);
}

absl::Status OciRuntime::Start(const base::OpContext& ctx, const std::string& id) {
  return Call(ctx, "start", id, {"start", id});
}

absl::Status OciRuntime::Kill(const base::OpContext& ctx, const std::string& id, int signal,
                              bool all) {
  std::vector<std::string> args = {"kill"};
  if (all) {
    args.push_back("--all");
  }
  args.push_back(id);
  args.push_back(fmt::format("{}", signal));
  return Call(ctx, "kill", id, args);
}

absl::Status OciRuntime::Delete(const base::OpContext& ctx, const std::string& id, bool force) {
  std::vector<std::string> args = {"delete"};
  if (force) {
    args.push_back("--force");
  }
  args.push_back(id);
  const absl::Status status = Call(ctx, "delete", id, args);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status OciRuntime::Update(const base::OpContext& ctx, const std::string& id,
                                std::string_view resources_json) {
  return Call(ctx, "update", id, {"update", "--resources", "-", id}, resources_json);
}

absl::Status OciRuntime::Call(const base::OpContext& ctx, std::string_view verb,
                              const std::string& id, const std::vector<std::string>& args,
                              std::string_view input) {
  base::ProcessSpec spec;
  spec.argv = handler_.Command(options_.systemd_cgroup);
  // With a log of its own the runtime prints errors only, as plain text.
  spec.argv.insert(spec.argv.end(), {"--log", "/dev/null"});
  spec.argv.insert(spec.argv.end(), args.begin(), args.end());
  spec.env = Environment();
  absl::StatusOr<base::RunResult> result = runner_.Run(ctx, spec, input, base::RunLimits());
  if (!result.ok()) {
    const absl::Status status = base::Annotate(
        result.status(), fmt::format("{} {} container '{}'", handler_.name, verb, id));
    // A missing program must not read as a missing container.
    return absl::IsNotFound(status) ? absl::UnavailableError(status.message()) : status;
  }
  if (result->exit.ok()) {
    return absl::OkStatus();
  }
  return RuntimeError(handler_.name, verb, id, result->err, result->exit.Combined());
}

}  // namespace berth::runtime
