#include "lib/security/seccomp.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/security/seccomp_rules.h"

namespace berth::security {
namespace {

using Json = nlohmann::json;

struct Architecture {
  std::string_view machine;  // uname -m
  std::string_view goarch;
  std::string_view seccomp;
};

constexpr Architecture kArchitectures[] = {
    {"x86_64", "amd64", "SCMP_ARCH_X86_64"},
    {"aarch64", "arm64", "SCMP_ARCH_AARCH64"},
    {"i686", "386", "SCMP_ARCH_X86"},
    {"armv7l", "arm", "SCMP_ARCH_ARM"},
    {"ppc64le", "ppc64le", "SCMP_ARCH_PPC64LE"},
    {"s390x", "s390x", "SCMP_ARCH_S390X"},
    {"riscv64", "riscv64", "SCMP_ARCH_RISCV64"},
};

bool HasArch(const SeccompCondition& condition, const std::string& arch) {
  return std::find(condition.arches.begin(), condition.arches.end(), arch) !=
         condition.arches.end();
}

bool IsAtLeast(const SeccompTarget& target, const std::pair<int, int>& kernel) {
  return std::pair(target.kernel_major, target.kernel_minor) >= kernel;
}

bool Applies(const SeccompRule& rule, const SeccompTarget& target) {
  const SeccompCondition& in = rule.includes;
  if ((!in.arches.empty() && !HasArch(in, target.arch)) ||
      (in.capabilities & ~target.capabilities) != 0 ||
      (in.min_kernel.has_value() && !IsAtLeast(target, *in.min_kernel))) {
    return false;
  }
  const SeccompCondition& out = rule.excludes;
  return !HasArch(out, target.arch) && (out.capabilities & target.capabilities) == 0 &&
         !(out.min_kernel.has_value() && IsAtLeast(target, *out.min_kernel));
}

std::vector<std::string> ArchitecturesFor(const SeccompRules& rules, const std::string& arch) {
  if (!rules.architectures.empty()) {
    return rules.architectures;
  }
  for (const Architecture& known : kArchitectures) {
    if (known.goarch != arch) {
      continue;
    }
    for (const auto& [architecture, more] : rules.arch_map) {
      if (architecture == known.seccomp) {
        std::vector<std::string> all = {architecture};
        all.insert(all.end(), more.begin(), more.end());
        return all;
      }
    }
  }
  return {};
}

Json RenderRule(const SeccompRule& rule) {
  Json json = {{"names", rule.names}, {"action", rule.action}};
  if (rule.errno_ret.has_value()) {
    json["errnoRet"] = *rule.errno_ret;
  }
  for (const SeccompArg& arg : rule.args) {
    json["args"].push_back(
        {{"index", arg.index}, {"value", arg.value}, {"valueTwo", arg.value_two}, {"op", arg.op}});
  }
  return json;
}

}  // namespace

struct SeccompProfile::Rules {
  SeccompRules value;
};

SeccompProfile::SeccompProfile(std::unique_ptr<const Rules> rules) : rules_(std::move(rules)) {}
SeccompProfile::SeccompProfile(SeccompProfile&&) noexcept = default;
SeccompProfile& SeccompProfile::operator=(SeccompProfile&&) noexcept = default;
SeccompProfile::~SeccompProfile() = default;

SeccompTarget ThisSeccompTarget(CapabilitySet capabilities) {
  SeccompTarget target;
  target.capabilities = capabilities;
  struct utsname name = {};
  if (::uname(&name) == 0) {
    // A release without two numbers leaves 0.0: no rule for newer kernels applies.
    if (std::sscanf(name.release, "%d.%d", &target.kernel_major, &target.kernel_minor) != 2) {
      target.kernel_major = target.kernel_minor = 0;
    }
    target.arch = name.machine;
  }
  for (const Architecture& known : kArchitectures) {
    if (known.machine == target.arch) {
      target.arch = known.goarch;
      break;
    }
  }
  return target;
}

absl::StatusOr<SeccompProfile> SeccompProfile::Parse(std::string_view json) {
  ASSIGN_OR_RETURN(SeccompRules rules, ParseSeccompRules(json));
  return SeccompProfile(std::make_unique<const Rules>(Rules{std::move(rules)}));
}

absl::StatusOr<SeccompProfile> SeccompProfile::Load(const std::string& path) {
  const auto load = [&]() -> absl::StatusOr<SeccompProfile> {
    // O_NONBLOCK: a fifo in its place must not hold the request up.
    ASSIGN_OR_RETURN(const base::UniqueFd fd, base::OpenFile(path, O_RDONLY | O_NONBLOCK));
    struct stat status = {};
    if (::fstat(fd.get(), &status) != 0) {
      return base::ErrnoStatus(errno, "fstat");
    }
    if (!S_ISREG(status.st_mode)) {
      return absl::InvalidArgumentError("not a regular file");
    }
    ASSIGN_OR_RETURN(const std::string text, base::ReadFd(fd.get(), kMaxSeccompProfileBytes));
    return Parse(text);
  };
  auto profile = load();
  if (!profile.ok()) {
    return base::Annotate(profile.status(), fmt::format("load seccomp profile '{}'", path));
  }
  return profile;
}

SeccompProfile SeccompProfile::Default() {
  auto profile = Parse(DefaultProfileText());
  BERTH_CHECK(profile.ok());
  return *std::move(profile);
}

std::string SeccompProfile::Resolve(const SeccompTarget& target) const {
  const SeccompRules& rules = rules_->value;
  Json json = {{"defaultAction", rules.default_action}};
  if (rules.default_errno_ret.has_value()) {
    json["defaultErrnoRet"] = *rules.default_errno_ret;
  }
  if (auto architectures = ArchitecturesFor(rules, target.arch); !architectures.empty()) {
    json["architectures"] = std::move(architectures);
  }
  if (!rules.flags.empty()) {
    json["flags"] = rules.flags;
  }
  if (!rules.listener_path.empty()) {
    json["listenerPath"] = rules.listener_path;
  }
  if (!rules.listener_metadata.empty()) {
    json["listenerMetadata"] = rules.listener_metadata;
  }
  for (const SeccompRule& rule : rules.syscalls) {
    // libseccomp refuses rules that say what the default says.
    const bool is_default =
        rule.action == rules.default_action && rule.errno_ret == rules.default_errno_ret;
    if (!is_default && Applies(rule, target)) {
      json["syscalls"].push_back(RenderRule(rule));
    }
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

SeccompPolicy::SeccompPolicy(SeccompProfile runtime_default)
    : runtime_default_(std::move(runtime_default)) {}

absl::StatusOr<std::string> SeccompPolicy::For(
    const std::optional<model::SecurityProfile>& requested, bool privileged,
    CapabilitySet capabilities) {
  using Type = model::SecurityProfile::Type;
  if (privileged || !requested.has_value() || requested->type == Type::kUnconfined) {
    return std::string();
  }
  if (requested->type == Type::kLocalhost) {
    const std::string& path = requested->localhost_ref;
    if (path.empty() || path.front() != '/') {
      return absl::InvalidArgumentError(
          fmt::format("seccomp profile '{}' of the node is not an absolute path", path));
    }
    ASSIGN_OR_RETURN(const SeccompProfile profile, SeccompProfile::Load(path));
    return profile.Resolve(ThisSeccompTarget(capabilities));
  }
  {
    const base::MutexLock lock(mu_);
    if (const auto it = resolved_.find(capabilities); it != resolved_.end()) {
      return it->second;
    }
  }
  std::string text = runtime_default_.Resolve(ThisSeccompTarget(capabilities));
  const base::MutexLock lock(mu_);
  // Few sets of capabilities are in use on a node; a flood of others is not kept.
  if (resolved_.size() < kMaxResolved) {
    resolved_.emplace(capabilities, text);
  }
  return text;
}

}  // namespace berth::security
