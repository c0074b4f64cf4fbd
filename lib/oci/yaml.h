// YAML as the JSON it stands for, for CDI files, most of which are written in it, and for blockio
// classes. yaml.cc is the only file that includes libyaml.
//
// What a plain scalar is depends on its key, as for readers that know the type of each field: under
// the keys that `is_typed` names it is a number or a boolean where it looks like one (0640 and
// 0o640 are octal, 0x1A0 is hexadecimal); everywhere else it is text, so that a device may be named
// 0. An empty value, `~` and `null` are null. Anchors and aliases work.
//
// Threads: pure. Limits: kMaxYamlNodes, aliases counted each time they are used; 32 levels.
// Errors: kInvalidArgument: not exactly one document, a syntax error (with its line), a key that is
// no text or there twice; kOutOfRange: beyond the limits.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace berth::oci {

inline constexpr size_t kMaxYamlNodes = 100'000;

absl::StatusOr<nlohmann::json> YamlToJson(std::string_view text,
                                          const std::function<bool(std::string_view)>& is_typed);

}  // namespace berth::oci
