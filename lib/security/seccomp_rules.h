// The rules of a seccomp profile as read from JSON. Private to lib/security: see seccomp.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/security/capabilities.h"

namespace berth::security {

// An empty condition says nothing. As `includes` all of it must hold; as `excludes` none of it may.
struct SeccompCondition {
  std::vector<std::string> arches;  // GOARCH words
  CapabilitySet capabilities = 0;
  std::optional<std::pair<int, int>> min_kernel;
};

struct SeccompArg {
  uint64_t index = 0, value = 0, value_two = 0;
  std::string op;
};

struct SeccompRule {
  std::vector<std::string> names;
  std::string action;
  std::optional<uint64_t> errno_ret;
  std::vector<SeccompArg> args;
  SeccompCondition includes, excludes;
};

struct SeccompRules {
  std::string default_action;
  std::optional<uint64_t> default_errno_ret;
  std::vector<std::string> architectures;  // as given; else by arch_map
  std::vector<std::pair<std::string, std::vector<std::string>>> arch_map;
  std::vector<std::string> flags;
  std::string listener_path, listener_metadata;
  std::vector<SeccompRule> syscalls;
};

absl::StatusOr<SeccompRules> ParseSeccompRules(std::string_view json);

// conf/seccomp.json.
std::string_view DefaultProfileText();

}  // namespace berth::security
