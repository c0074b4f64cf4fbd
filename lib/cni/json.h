// The one place of lib/cni that calls the JSON library. Text comes from plugins and files: sizes
// and depth are bounded, and nothing throws. Private to this library. Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace berth::cni {

using Json = nlohmann::json;

inline constexpr size_t kMaxJsonBytes = 1 << 20;
inline constexpr int kMaxJsonDepth = 64;

// An object. kInvalidArgument: too long, too deep, not JSON (with the position), or not an object.
absl::StatusOr<Json> ParseJsonObject(std::string_view text);

// Compact; bytes that are not UTF-8 are replaced.
std::string DumpJson(const Json& value);

// The member of an object, or nullptr when it is absent or null.
const Json* FindMember(const Json& object, const char* key);

// Members of an object by type. Absent or null: empty, 0, false. Another type: kInvalidArgument
// naming the key.
absl::StatusOr<std::string> GetString(const Json& object, const char* key);
absl::StatusOr<std::vector<std::string>> GetStrings(const Json& object, const char* key);
absl::StatusOr<std::optional<int64_t>> GetInt(const Json& object, const char* key);
absl::StatusOr<bool> GetBool(const Json& object, const char* key);

// Text of others for a message of ours: one line of at most `limit` bytes.
std::string Excerpt(std::string_view text, size_t limit = 512);

}  // namespace berth::cni
