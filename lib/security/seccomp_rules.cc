#include "lib/security/seccomp_rules.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "lib/base/status.h"
#include "lib/security/seccomp.h"

namespace berth::security {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxNames = 4096;
constexpr size_t kMaxRules = 1024;
constexpr uint64_t kMaxErrno = 4095;  // MAX_ERRNO of the kernel

const std::set<std::string, std::less<>>& Actions() {
  static const auto* const actions = new std::set<std::string, std::less<>>{
      "SCMP_ACT_ALLOW",        "SCMP_ACT_ERRNO",       "SCMP_ACT_KILL",
      "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
      "SCMP_ACT_NOTIFY",       "SCMP_ACT_TRACE",       "SCMP_ACT_TRAP"};
  return *actions;
}

const std::set<std::string, std::less<>>& Operators() {
  static const auto* const operators = new std::set<std::string, std::less<>>{
      "SCMP_CMP_EQ", "SCMP_CMP_GE",        "SCMP_CMP_GT", "SCMP_CMP_LE",
      "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"};
  return *operators;
}

absl::Status Invalid(std::string_view where, std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("{}: {}", where, what));
}

// Unknown members are errors: a misspelt `args` or `includes` would let more through than was
// meant.
absl::Status CheckMembers(const Json& object, std::string_view where,
                          const std::set<std::string, std::less<>>& known) {
  if (!object.is_object()) {
    return Invalid(where, "not an object");
  }
  for (const auto& [key, value] : object.items()) {
    if (known.count(key) == 0) {
      return Invalid(where, fmt::format("unknown member '{}'", key));
    }
  }
  return absl::OkStatus();
}

// The member, or null when it is absent.
const Json& Member(const Json& object, const char* key) {
  static const auto* const null = new Json();
  const auto it = object.find(key);
  return it == object.end() ? *null : *it;
}

absl::StatusOr<std::string> Text(const Json& object, const char* key, std::string_view where) {
  const Json& member = Member(object, key);
  if (member.is_null()) {
    return std::string();
  }
  if (!member.is_string()) {
    return Invalid(where, fmt::format("'{}' is not a string", key));
  }
  return member.get<std::string>();
}

absl::StatusOr<std::vector<std::string>> Texts(const Json& object, const char* key,
                                               std::string_view where) {
  const Json& member = Member(object, key);
  std::vector<std::string> texts;
  if (member.is_null()) {
    return texts;
  }
  if (!member.is_array() || member.size() > kMaxNames) {
    return Invalid(where, fmt::format("'{}' is not a list of at most {}", key, kMaxNames));
  }
  for (const Json& item : member) {
    if (!item.is_string() || item.get_ref<const std::string&>().empty()) {
      return Invalid(where, fmt::format("'{}' has an entry that is not a word", key));
    }
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

absl::StatusOr<uint64_t> Number(const Json& object, const char* key, std::string_view where) {
  const Json& member = Member(object, key);
  if (member.is_null()) {
    return uint64_t{0};
  }
  if (!member.is_number_unsigned()) {
    return Invalid(where, fmt::format("'{}' is not a number >= 0", key));
  }
  return member.get<uint64_t>();
}

// errnoRet, or Podman's name of it ("EPERM") when that is all there is.
absl::StatusOr<std::optional<uint64_t>> Errno(const Json& object, const char* number_key,
                                              const char* name_key, std::string_view where) {
  if (!Member(object, number_key).is_null()) {
    ASSIGN_OR_RETURN(const uint64_t number, Number(object, number_key, where));
    if (number > kMaxErrno) {
      return Invalid(where, fmt::format("'{}' is above {}", number_key, kMaxErrno));
    }
    return std::optional<uint64_t>(number);
  }
  ASSIGN_OR_RETURN(const std::string name, Text(object, name_key, where));
  if (name.empty()) {
    return std::optional<uint64_t>();
  }
  for (int number = 1; number < 256; ++number) {
    if (const char* const known = strerrorname_np(number); known != nullptr && name == known) {
      return std::optional<uint64_t>(number);
    }
  }
  return Invalid(where, fmt::format("'{}' names no error: '{}'", name_key, name));
}

absl::StatusOr<std::string> Action(const Json& object, const char* key, std::string_view where) {
  ASSIGN_OR_RETURN(std::string action, Text(object, key, where));
  if (Actions().count(action) == 0) {
    return Invalid(where, fmt::format("'{}' is no action: '{}'", key, action));
  }
  return action;
}

absl::StatusOr<SeccompCondition> ParseCondition(const Json& json, std::string_view where) {
  SeccompCondition condition;
  if (json.is_null()) {
    return condition;
  }
  RETURN_IF_ERROR(CheckMembers(json, where, {"arches", "caps", "minKernel"}));
  ASSIGN_OR_RETURN(condition.arches, Texts(json, "arches", where));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Texts(json, "caps", where));
  auto capabilities = ParseCapabilities(names);
  if (!capabilities.ok()) {
    return base::Annotate(capabilities.status(), where);
  }
  condition.capabilities = *capabilities;
  ASSIGN_OR_RETURN(const std::string kernel, Text(json, "minKernel", where));
  if (!kernel.empty()) {
    int major = 0;
    int minor = 0;
    const char* const end = kernel.data() + kernel.size();
    const auto first = std::from_chars(kernel.data(), end, major);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != '.') {
      return Invalid(where, "'minKernel' is not like '4.8'");
    }
    const auto second = std::from_chars(first.ptr + 1, end, minor);
    if (second.ec != std::errc() || second.ptr != end) {
      return Invalid(where, "'minKernel' is not like '4.8'");
    }
    condition.min_kernel = {major, minor};
  }
  return condition;
}

absl::StatusOr<std::vector<SeccompArg>> ParseArgs(const Json& json, std::string_view where) {
  std::vector<SeccompArg> args;
  if (json.is_null()) {
    return args;
  }
  if (!json.is_array() || json.size() > 64) {
    return Invalid(where, "'args' is not a list of at most 64");
  }
  for (const Json& item : json) {
    RETURN_IF_ERROR(CheckMembers(item, where, {"index", "value", "valueTwo", "op"}));
    SeccompArg arg;
    ASSIGN_OR_RETURN(arg.index, Number(item, "index", where));
    ASSIGN_OR_RETURN(arg.value, Number(item, "value", where));
    ASSIGN_OR_RETURN(arg.value_two, Number(item, "valueTwo", where));
    ASSIGN_OR_RETURN(arg.op, Text(item, "op", where));
    if (arg.index > 5) {
      return Invalid(where, fmt::format("a system call has no argument {}", arg.index));
    }
    if (Operators().count(arg.op) == 0) {
      return Invalid(where, fmt::format("'op' is no comparison: '{}'", arg.op));
    }
    args.push_back(std::move(arg));
  }
  return args;
}

absl::StatusOr<SeccompRule> ParseRule(const Json& json, std::string_view where) {
  RETURN_IF_ERROR(CheckMembers(
      json, where,
      {"action", "args", "comment", "errno", "errnoRet", "excludes", "includes", "name", "names"}));
  SeccompRule rule;
  ASSIGN_OR_RETURN(rule.names, Texts(json, "names", where));
  ASSIGN_OR_RETURN(const std::string name, Text(json, "name", where));
  if (!name.empty()) {
    rule.names.push_back(name);
  }
  if (rule.names.empty()) {
    return Invalid(where, "no 'names'");
  }
  ASSIGN_OR_RETURN(rule.action, Action(json, "action", where));
  ASSIGN_OR_RETURN(rule.errno_ret, Errno(json, "errnoRet", "errno", where));
  ASSIGN_OR_RETURN(rule.args, ParseArgs(Member(json, "args"), where));
  ASSIGN_OR_RETURN(rule.includes,
                   ParseCondition(Member(json, "includes"), fmt::format("{}.includes", where)));
  ASSIGN_OR_RETURN(rule.excludes,
                   ParseCondition(Member(json, "excludes"), fmt::format("{}.excludes", where)));
  return rule;
}

absl::Status ParseArchitectures(const Json& json, SeccompRules& rules) {
  ASSIGN_OR_RETURN(rules.architectures, Texts(json, "architectures", "profile"));
  const Json& arch_map = Member(json, "archMap");
  if (arch_map.is_null()) {
    return absl::OkStatus();
  }
  if (!arch_map.is_array()) {
    return Invalid("archMap", "not a list");
  }
  if (!rules.architectures.empty()) {
    return Invalid("profile", "has both 'architectures' and 'archMap'");
  }
  for (const Json& entry : arch_map) {
    RETURN_IF_ERROR(CheckMembers(entry, "archMap", {"architecture", "subArchitectures"}));
    ASSIGN_OR_RETURN(std::string architecture, Text(entry, "architecture", "archMap"));
    ASSIGN_OR_RETURN(std::vector<std::string> more, Texts(entry, "subArchitectures", "archMap"));
    rules.arch_map.emplace_back(std::move(architecture), std::move(more));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SeccompRules> ParseSeccompRules(std::string_view text) {
  if (text.size() > kMaxSeccompProfileBytes) {
    return absl::OutOfRangeError(
        fmt::format("a seccomp profile has at most {} bytes", kMaxSeccompProfileBytes));
  }
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return absl::InvalidArgumentError("not JSON");
  }
  RETURN_IF_ERROR(
      CheckMembers(json, "profile",
                   {"archMap", "architectures", "comment", "defaultAction", "defaultErrno",
                    "defaultErrnoRet", "flags", "listenerMetadata", "listenerPath", "syscalls"}));
  SeccompRules rules;
  ASSIGN_OR_RETURN(rules.default_action, Action(json, "defaultAction", "profile"));
  ASSIGN_OR_RETURN(rules.default_errno_ret,
                   Errno(json, "defaultErrnoRet", "defaultErrno", "profile"));
  RETURN_IF_ERROR(ParseArchitectures(json, rules));
  ASSIGN_OR_RETURN(rules.flags, Texts(json, "flags", "profile"));
  ASSIGN_OR_RETURN(rules.listener_path, Text(json, "listenerPath", "profile"));
  ASSIGN_OR_RETURN(rules.listener_metadata, Text(json, "listenerMetadata", "profile"));

  const Json& syscalls = Member(json, "syscalls");
  if (!syscalls.is_null() && (!syscalls.is_array() || syscalls.size() > kMaxRules)) {
    return Invalid("syscalls", fmt::format("not a list of at most {}", kMaxRules));
  }
  size_t names = 0;
  for (size_t i = 0; i < syscalls.size(); ++i) {
    ASSIGN_OR_RETURN(SeccompRule rule, ParseRule(syscalls[i], fmt::format("syscalls[{}]", i)));
    names += rule.names.size();
    if (names > kMaxNames) {
      return Invalid("syscalls", fmt::format("more than {} names", kMaxNames));
    }
    if (rule.action == "SCMP_ACT_NOTIFY" && rules.listener_path.empty()) {
      return Invalid(fmt::format("syscalls[{}]", i), "SCMP_ACT_NOTIFY without a 'listenerPath'");
    }
    rules.syscalls.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace berth::security
