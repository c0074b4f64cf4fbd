#include "lib/hooks/hook_file.h"

#include <algorithm>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/json.h"
#include "lib/oci/printable.h"
#include "re2/re2.h"

namespace berth::hooks {
namespace {

using oci::JsonObject;

constexpr int kMaxDepth = 16;
constexpr size_t kMaxPatterns = 1000;
constexpr int64_t kPatternBytes = 1 << 20;  // of memory, for each

absl::Status Invalid(const std::string& what) { return absl::InvalidArgumentError(what); }

absl::StatusOr<HookFile::Pattern> Compile(const std::string& text, const std::string& where) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kPatternBytes);
  auto pattern = std::make_shared<const re2::RE2>(text, options);
  if (!pattern->ok()) {
    return Invalid(fmt::format("'{}': '{}' is not a regular expression: {}", where,
                               oci::Printable(text, 80), pattern->error()));
  }
  return pattern;
}

bool Finds(const HookFile::Pattern& pattern, const std::string& text) {
  return re2::RE2::PartialMatch(text, *pattern);
}

absl::StatusOr<model::Hook> ReadHook(const JsonObject& object) {
  RETURN_IF_ERROR(object.CheckNames({"path", "args", "env", "timeout"}));
  model::Hook hook;
  ASSIGN_OR_RETURN(hook.path, object.String("path"));
  if (hook.path.rfind('/', 0) != 0) {
    return Invalid(
        fmt::format("'hook.path' is '{}', not an absolute path", oci::Printable(hook.path)));
  }
  ASSIGN_OR_RETURN(hook.args, object.Strings("args"));
  ASSIGN_OR_RETURN(hook.env, object.Strings("env"));
  ASSIGN_OR_RETURN(hook.timeout_seconds, object.Integer("timeout"));
  if (object.Has("timeout") && hook.timeout_seconds <= 0) {
    return Invalid(fmt::format("'hook.timeout' is {}", hook.timeout_seconds));
  }
  return hook;
}

absl::Status ReadWhen(const JsonObject& object, HookFile& file) {
  RETURN_IF_ERROR(object.CheckNames({"always", "annotations", "commands", "hasBindMounts"}));
  ASSIGN_OR_RETURN(file.always, object.Boolean("always"));
  ASSIGN_OR_RETURN(file.has_bind_mounts, object.Boolean("hasBindMounts"));
  ASSIGN_OR_RETURN(const auto annotations, object.StringMap("annotations"));
  ASSIGN_OR_RETURN(const std::vector<std::string> commands, object.Strings("commands"));
  if (annotations.size() + commands.size() > kMaxPatterns) {
    return Invalid(fmt::format("'when' has more than {} patterns", kMaxPatterns));
  }
  for (const auto& [key, value] : annotations) {
    ASSIGN_OR_RETURN(HookFile::Pattern key_pattern, Compile(key, "when.annotations"));
    ASSIGN_OR_RETURN(HookFile::Pattern value_pattern, Compile(value, "when.annotations"));
    file.annotations.emplace_back(std::move(key_pattern), std::move(value_pattern));
  }
  for (const std::string& command : commands) {
    ASSIGN_OR_RETURN(HookFile::Pattern pattern, Compile(command, "when.commands"));
    file.commands.push_back(std::move(pattern));
  }
  return absl::OkStatus();
}

}  // namespace

bool HookFile::Matches(const HookQuery& query) const {
  if (!always && !has_bind_mounts && annotations.empty() && commands.empty()) {
    return false;
  }
  if (!always.value_or(true) || (has_bind_mounts && !(*has_bind_mounts && query.has_bind_mounts))) {
    return false;
  }
  const bool annotated =
      std::all_of(annotations.begin(), annotations.end(), [&](const auto& patterns) {
        return std::any_of(query.annotations.begin(), query.annotations.end(),
                           [&](const auto& annotation) {
                             return Finds(patterns.first, annotation.first) &&
                                    Finds(patterns.second, annotation.second);
                           });
      });
  return annotated && (commands.empty() ||
                       std::any_of(commands.begin(), commands.end(), [&](const Pattern& pattern) {
                         return Finds(pattern, query.command);
                       }));
}

absl::StatusOr<HookFile> ParseHookFile(std::string_view json) {
  ASSIGN_OR_RETURN(const nlohmann::json document, oci::ParseJson(json, kMaxDepth));
  ASSIGN_OR_RETURN(const JsonObject root, JsonObject::Root(document));
  RETURN_IF_ERROR(root.CheckNames({"version", "hook", "when", "stages"}));
  ASSIGN_OR_RETURN(const std::string version, root.String("version"));
  if (version != "1.0.0") {
    return Invalid(fmt::format("'version' is '{}', not '1.0.0'", oci::Printable(version)));
  }
  HookFile file;
  ASSIGN_OR_RETURN(const std::optional<JsonObject> hook, root.Object("hook"));
  ASSIGN_OR_RETURN(const std::optional<JsonObject> when, root.Object("when"));
  if (!hook || !when) {
    return Invalid(fmt::format("'{}' is missing", hook ? "when" : "hook"));
  }
  ASSIGN_OR_RETURN(file.hook, ReadHook(*hook));
  RETURN_IF_ERROR(ReadWhen(*when, file));
  ASSIGN_OR_RETURN(file.stages, root.Strings("stages"));
  if (file.stages.empty()) {
    return Invalid("'stages' is empty");
  }
  for (const std::string& stage : file.stages) {
    if (!model::IsHookStage(stage)) {
      return Invalid(fmt::format("'stages' has '{}', which is none", oci::Printable(stage)));
    }
  }
  return file;
}

}  // namespace berth::hooks
