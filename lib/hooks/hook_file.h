// HookFile: one OCI hook definition, a program that the OCI runtime runs for containers that match.
//
// All conditions that a file has must hold, and `always` and `hasBindMounts` hold only when they
// are true; a file without any matches nothing. `annotations` matches when one annotation has a key
// and a value that its two patterns find, `commands` when one pattern is found in the container's
// program. Patterns are RE2's, as in the other readers of these files; matching takes time in
// proportion to the text, whatever a pod's author writes in it.
//
// Threads: pure; the value is immutable. Limits: 1000 patterns; those of oci::ParseJson.
// Source: oci-hooks(5), schema 1.0.0.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/edits.h"

namespace re2 {
class RE2;
}

namespace berth::hooks {

// What conditions look at.
struct HookQuery {
  std::map<std::string, std::string> annotations;  // the pod's and the container's
  std::string command;                             // the first argument of the container's process
  bool has_bind_mounts = false;                    // the request has mounts
};

struct HookFile {
  using Pattern = std::shared_ptr<const re2::RE2>;

  model::Hook hook;
  std::vector<std::string> stages;  // of model::kHookStages; at least one
  std::optional<bool> always, has_bind_mounts;
  std::vector<std::pair<Pattern, Pattern>> annotations;  // key and value
  std::vector<Pattern> commands;

  bool Matches(const HookQuery& query) const;
};

// kInvalidArgument says what is wrong: also of fields that are not known, for a condition left out
// would make a hook match too much.
absl::StatusOr<HookFile> ParseHookFile(std::string_view json);

}  // namespace berth::hooks
