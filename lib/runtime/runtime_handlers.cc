#include "lib/runtime/runtime_handlers.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/runtime/oci_runtime.h"
#include "lib/runtime/probe_cache.h"

namespace berth::runtime {
namespace {

// Looked for on PATH; the first usable one is the default where none was chosen.
constexpr std::string_view kWellKnown[] = {"crun", "runc"};

constexpr size_t kMaxFeaturesBytes = 1 << 20;

absl::StatusOr<base::RunResult> Probe(const base::OpContext& ctx, base::ProcessRunner& runner,
                                      const std::string& path, const std::string& argument,
                                      const std::string& scratch_dir) {
  base::ProcessSpec spec;
  spec.argv = {path, argument};
  spec.env = WithScratch(RuntimeEnvironment(), scratch_dir);
  base::RunLimits limits;
  limits.max_stdout = kMaxFeaturesBytes;
  return runner.Run(ctx.Within(RuntimeHandlers::kProbeTimeout), spec, {}, limits);
}

// "crun version 1.8.1" -> {1, 8, 1}; zeros where it is not so.
struct Version {
  int number[3] = {0, 0, 0};
};

Version ParseVersion(std::string_view line) {
  Version version;
  const size_t start = line.find_first_of("0123456789");
  if (start == std::string_view::npos) {
    return version;
  }
  const char* at = line.data() + start;
  const char* const end = line.data() + line.size();
  for (int& number : version.number) {
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc() || next == end || *next != '.') {
      break;
    }
    at = next + 1;
  }
  return version;
}

// crun can do more than it tells before 1.9 or so, which has no `features`; tried with Debian
// 12's 1.8.1.
HandlerFeatures FeaturesByVersion(std::string_view version_line) {
  HandlerFeatures features;
  if (version_line.starts_with("crun ")) {
    const Version version = ParseVersion(version_line);
    const auto at_least = [&version](int major, int minor, int patch) {
      const int wanted[3] = {major, minor, patch};
      return !std::lexicographical_compare(version.number, version.number + 3, wanted, wanted + 3);
    };
    features.recursive_read_only = at_least(1, 4, 0);
    features.idmap_mounts = at_least(1, 8, 1);
    features.user_namespaces = at_least(1, 8, 1);
  }
  return features;
}

absl::StatusOr<ProbeCache::Answer> Ask(const base::OpContext& ctx, base::ProcessRunner& runner,
                                       const std::string& path, const std::string& scratch_dir) {
  ASSIGN_OR_RETURN(base::RunResult version, Probe(ctx, runner, path, "--version", scratch_dir));
  if (!version.exit.ok() || version.out.empty()) {
    return absl::FailedPreconditionError(fmt::format("'{} --version' ended with {} and said '{}'",
                                                     path, version.exit.Combined(),
                                                     CleanMessage(version.err)));
  }
  ProbeCache::Answer answer;
  answer.version = CleanMessage(version.out.substr(0, version.out.find('\n')));

  // Older ones do not have it, which is no error; neither is nonsense, for they run containers all
  // the same.
  absl::StatusOr<base::RunResult> features = Probe(ctx, runner, path, "features", scratch_dir);
  absl::StatusOr<HandlerFeatures> parsed = absl::UnavailableError("no features");
  if (features.ok() && features->exit.ok() && !features->truncated) {
    parsed = ParseFeatures(features->out);
  }
  if (KernelHasMountSetattr()) {
    answer.features = parsed.ok() ? *parsed : FeaturesByVersion(answer.version);
  }
  return answer;
}

absl::StatusOr<Handler> LoadHandler(const base::OpContext& ctx, base::ProcessRunner& runner,
                                    const HandlerConfig& config, const std::string& scratch_dir,
                                    ProbeCache& cache) {
  Handler handler;
  handler.name = config.name;
  handler.root = config.root.empty() ? "/run/" + config.name : config.root;
  handler.options = config.options;
  ASSIGN_OR_RETURN(handler.path,
                   base::FindProgram(config.path.empty() ? config.name : config.path));
  std::optional<ProbeCache::Answer> answer = cache.Find(handler.path);
  if (!answer) {
    ASSIGN_OR_RETURN(answer, Ask(ctx, runner, handler.path, scratch_dir));
    cache.Put(handler.path, *answer);
  }
  handler.version = std::move(answer->version);
  handler.features = answer->features;
  return handler;
}

std::string DescribeBroken(const std::vector<BrokenHandler>& broken) {
  std::vector<std::string> texts;
  texts.reserve(broken.size());
  for (const BrokenHandler& handler : broken) {
    texts.push_back(fmt::format("'{}': {}", handler.name, std::string(handler.error.message())));
  }
  return fmt::format("{}", fmt::join(texts, "; "));
}

}  // namespace

std::vector<std::string> Handler::Command(bool systemd_cgroup) const {
  std::vector<std::string> command = {path, "--root", root};
  command.insert(command.end(), options.begin(), options.end());
  if (systemd_cgroup) {
    command.push_back("--systemd-cgroup");
  }
  return command;
}

bool KernelHasMountSetattr() {
  // With arguments that say nothing: EINVAL where there is one, else ENOSYS, or EPERM from a
  // filter.
  return ::syscall(SYS_mount_setattr, -1, nullptr, 0, nullptr, 0) == -1 && errno == EINVAL;
}

absl::StatusOr<HandlerFeatures> ParseFeatures(std::string_view json) {
  const nlohmann::json document = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || !document.contains("ociVersionMin")) {
    return absl::InvalidArgumentError("not the output of 'features'");
  }
  HandlerFeatures features;
  if (const auto options = document.find("mountOptions");
      options != document.end() && options->is_array()) {
    features.recursive_read_only =
        std::find(options->begin(), options->end(), "rro") != options->end();
  }
  // linux.mountExtensions.idmap.enabled; each step may be absent.
  const nlohmann::json* at = &document;
  for (const char* key : {"linux", "mountExtensions", "idmap", "enabled"}) {
    const auto next = at->is_object() ? at->find(key) : at->end();
    if (!at->is_object() || next == at->end()) {
      at = nullptr;
      break;
    }
    at = &*next;
  }
  features.idmap_mounts = at != nullptr && at->is_boolean() && at->get<bool>();
  if (document.contains("linux") && document["linux"].is_object()) {
    const nlohmann::json namespaces = document["linux"].value("namespaces", nlohmann::json());
    features.user_namespaces =
        namespaces.is_array() &&
        std::find(namespaces.begin(), namespaces.end(), "user") != namespaces.end();
  }
  return features;
}

absl::StatusOr<RuntimeHandlers> RuntimeHandlers::Load(
    const base::OpContext& ctx, base::ProcessRunner& runner,
    const std::vector<HandlerConfig>& configs, const std::string& default_name,
    bool default_is_required, const std::string& scratch_dir, const std::string& cache_path) {
  std::vector<HandlerConfig> wanted = configs;
  for (const std::string_view name : kWellKnown) {
    const bool configured = std::any_of(configs.begin(), configs.end(),
                                        [name](const auto& config) { return config.name == name; });
    if (!configured && base::FindProgram(std::string(name)).ok()) {
      wanted.push_back({std::string(name), "", "", {}});
    }
  }

  ProbeCache cache(cache_path);
  RuntimeHandlers result;
  for (const HandlerConfig& config : wanted) {
    absl::StatusOr<Handler> handler = LoadHandler(ctx, runner, config, scratch_dir, cache);
    if (handler.ok()) {
      result.handlers_.push_back(*std::move(handler));
    } else {
      result.broken_.push_back({config.name, handler.status()});
    }
  }

  if (const absl::Status saved = cache.Save(); !saved.ok()) {
    base::Log("runtime").warn(
        "cannot keep what OCI runtimes said, the next start asks again error={}", saved.ToString());
  }

  const auto find = [&result](std::string_view name) {
    return std::find_if(result.handlers_.begin(), result.handlers_.end(),
                        [name](const Handler& handler) { return handler.name == name; });
  };
  auto chosen = find(default_name);
  if (chosen == result.handlers_.end() && !default_is_required) {
    for (const std::string_view name : kWellKnown) {
      chosen = chosen == result.handlers_.end() ? find(name) : chosen;
    }
    chosen = chosen == result.handlers_.end() ? result.handlers_.begin() : chosen;
  }
  if (chosen == result.handlers_.end()) {
    const std::string what =
        default_is_required ? fmt::format("the default runtime '{}' cannot be used", default_name)
                            : "no OCI runtime can be used; install crun or runc";
    return absl::FailedPreconditionError(
        result.broken_.empty() ? what
                               : fmt::format("{}: {}", what, DescribeBroken(result.broken_)));
  }
  std::rotate(result.handlers_.begin(), chosen, chosen + 1);
  return result;
}

absl::StatusOr<const Handler*> RuntimeHandlers::Get(std::string_view name) const {
  if (name.empty()) {
    return &default_handler();
  }
  std::vector<std::string> known;
  for (const Handler& handler : handlers_) {
    if (handler.name == name) {
      return &handler;
    }
    known.push_back("'" + handler.name + "'");
  }
  for (const BrokenHandler& handler : broken_) {
    if (handler.name == name) {
      return base::Annotate(absl::NotFoundError(handler.error.message()),
                            fmt::format("runtime handler '{}' cannot be used", name));
    }
  }
  return absl::NotFoundError(
      fmt::format("no runtime handler '{}'; known are {}", name, fmt::join(known, ", ")));
}

}  // namespace berth::runtime
