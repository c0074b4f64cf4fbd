// Checks of strings on their way into config.json. Private to lib/spec. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace berth::spec {

inline constexpr size_t kMaxStringBytes =
    (128 << 10) - 1;                                 // MAX_ARG_STRLEN of execve(2), less the NUL
inline constexpr size_t kMaxProcessBytes = 2 << 20;  // arguments and environment together

// Bytes below 0x20, and 0x7f.
bool HasControlCharacters(std::string_view text);

// kInvalidArgument: `what` holds a NUL, is not UTF-8, or is longer than kMaxStringBytes. The text
// itself is not repeated in the message, for it may be secret.
absl::Status CheckText(std::string_view text, std::string_view what);

// "/a/./b//../c/" -> "/a/c", without looking at any file. kInvalidArgument: not absolute, or
// CheckText's.
absl::StatusOr<std::string> CleanAbsolutePath(const std::string& path, std::string_view what);

// Whether `path` is `dir` or below it; both clean.
bool IsBelowOrSame(std::string_view path, std::string_view dir);

}  // namespace berth::spec
