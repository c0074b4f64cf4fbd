#include "lib/security/apparmor.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::security {
namespace {

// One line for each profile of the node; policies of thousands of profiles exist.
constexpr size_t kMaxProfilesBytes = 4 << 20;
constexpr size_t kMaxTextBytes = 64 << 10;

// The text for this machine's parser. The rules mean what they meant in AppArmor 3.0: later
// versions mediate more under the same words. Parsers before that do not know the line.
std::string TextFor(const std::string& abi) {
  return (base::PathExists(abi) ? "abi <abi/3.0>,\n" : "") + std::string(DefaultApparmorText());
}

// The parser may say a lot; the first line has the cause.
std::string FirstLine(const std::string& text) {
  return std::string(absl::StripAsciiWhitespace(text.substr(0, text.find('\n'))));
}

}  // namespace

absl::StatusOr<Apparmor> Apparmor::Load(const base::OpContext& ctx, base::ProcessRunner& runner,
                                        const ApparmorOptions& options) {
  Apparmor apparmor;
  const std::string enabled =
      base::ReadFile(options.sys + "/module/apparmor/parameters/enabled", 16).value_or("");
  if (enabled.rfind('Y', 0) != 0) {
    if (options.profile != kDefaultApparmorProfile && options.profile != kNoApparmorProfile) {
      apparmor.warnings_.push_back(
          fmt::format("AppArmor is not in use on this kernel: runtime.apparmor_profile '{}' has "
                      "no effect",
                      options.profile));
    }
    return apparmor;
  }
  apparmor.profiles_path_ = options.sys + "/kernel/security/apparmor/profiles";
  if (const auto list = base::ReadFile(apparmor.profiles_path_, kMaxProfilesBytes); !list.ok()) {
    apparmor.warnings_.push_back(
        fmt::format("the kernel has AppArmor, but its profiles cannot be seen (is securityfs "
                    "mounted?), so containers run without a profile: {}",
                    std::string(list.status().message())));
    return apparmor;
  }
  apparmor.in_use_ = true;
  if (options.profile == kNoApparmorProfile) {
    return apparmor;
  }
  if (options.profile == kDefaultApparmorProfile) {
    RETURN_IF_ERROR(apparmor.LoadDefault(ctx, runner, options));
    return apparmor;
  }
  ASSIGN_OR_RETURN(const bool loaded, apparmor.IsLoaded(options.profile));
  if (!loaded) {
    return absl::FailedPreconditionError(
        fmt::format("the AppArmor profile '{}' of runtime.apparmor_profile is not loaded: load it "
                    "with apparmor_parser before berthd starts",
                    options.profile));
  }
  apparmor.runtime_default_ = options.profile;
  return apparmor;
}

absl::Status Apparmor::LoadDefault(const base::OpContext& ctx, base::ProcessRunner& runner,
                                   const ApparmorOptions& options) {
  const std::string text = TextFor(options.abi);
  ASSIGN_OR_RETURN(const bool loaded, IsLoaded(kDefaultApparmorProfile));
  const auto earlier = base::ReadFile(options.loaded_text_path, kMaxTextBytes);
  const bool outdated = earlier.ok() && *earlier != text;
  if (loaded && !outdated) {
    runtime_default_ = kDefaultApparmorProfile;
    return absl::OkStatus();
  }
  if (options.parser.empty()) {
    if (loaded) {
      runtime_default_ = kDefaultApparmorProfile;
      warnings_.push_back(
          "apparmor_parser is missing: the AppArmor profile 'berth-default' stays the one that an "
          "earlier berthd loaded");
    } else {
      warnings_.push_back(
          "apparmor_parser is missing, so the AppArmor profile 'berth-default' cannot be loaded: "
          "containers that name no profile of their own run without one");
    }
    return absl::OkStatus();
  }
  const std::string what = fmt::format("load AppArmor profile '{}'", kDefaultApparmorProfile);
  // Neither read nor write the cache: the profile is no file there.
  const absl::StatusOr<base::RunResult> result = runner.Run(
      ctx,
      {.argv = {options.parser, "--replace", "--skip-cache"},
       .env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}},
      text);
  RETURN_IF_ERROR(base::Annotate(result.status(), what));
  if (!result->exit.ok()) {
    return absl::FailedPreconditionError(fmt::format(
        "{}: {} ended with {}: {} (to run containers without it, set "
        "runtime.apparmor_profile to '{}')",
        what, options.parser, result->exit.Combined(), FirstLine(result->err), kNoApparmorProfile));
  }
  ASSIGN_OR_RETURN(const bool now_loaded, IsLoaded(kDefaultApparmorProfile));
  if (!now_loaded) {
    return absl::FailedPreconditionError(fmt::format(
        "{}: {} did not complain, but the kernel does not have it", what, options.parser));
  }
  runtime_default_ = kDefaultApparmorProfile;
  return base::WriteFileAtomic(options.loaded_text_path, text, 0600);
}

absl::StatusOr<bool> Apparmor::IsLoaded(std::string_view name) const {
  ASSIGN_OR_RETURN(const std::string list, base::ReadFile(profiles_path_, kMaxProfilesBytes));
  // "NAME (MODE)"; a name may have spaces and brackets itself.
  for (size_t start = 0; start < list.size();) {
    const size_t end = std::min(list.find('\n', start), list.size());
    const std::string_view line = std::string_view(list).substr(start, end - start);
    if (line.substr(0, line.rfind(" (")) == name) {
      return true;
    }
    start = end + 1;
  }
  return false;
}

absl::StatusOr<std::string> Apparmor::For(const std::optional<model::SecurityProfile>& requested,
                                          bool privileged) const {
  using Type = model::SecurityProfile::Type;
  const Type type = requested.has_value() ? requested->type : Type::kRuntimeDefault;
  if (type == Type::kUnconfined) {
    return std::string();
  }
  if (type == Type::kRuntimeDefault) {
    return privileged ? std::string() : runtime_default_;
  }
  const std::string& name = requested->localhost_ref;
  if (!in_use_) {
    return absl::FailedPreconditionError(
        fmt::format("AppArmor profile '{}': AppArmor is not in use on this node", name));
  }
  ASSIGN_OR_RETURN(const bool loaded, IsLoaded(name));
  if (!loaded) {
    return absl::FailedPreconditionError(
        fmt::format("AppArmor profile '{}' is not loaded on this node", name));
  }
  return name;
}

}  // namespace berth::security
