// Json: bounded parsing of JSON from outside, and typed access to its members that never throws.
// The only wrapper of nlohmann/json in this library.
//
// Absent and null are the same everywhere, as for every other reader of these documents. A member
// of the wrong type is kInvalidArgument and named by its path: "config.Env[3] is a number, not a
// string". Threads: values.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace berth::oci {

inline constexpr size_t kMaxJsonValues = 100'000;

// kOutOfRange: deeper than max_depth, or more than kMaxJsonValues values. kInvalidArgument: not
// exactly one JSON document, or invalid UTF-8.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, int max_depth);

// One object of a document, with the path that leads to it. Borrows the document.
class JsonObject {
 public:
  // The root; kInvalidArgument when it is not an object.
  static absl::StatusOr<JsonObject> Root(const nlohmann::json& document);

  bool Has(const char* name) const { return Member(name) != nullptr; }
  std::string PathOf(const char* name) const;

  // Absent: "".
  absl::StatusOr<std::string> String(const char* name) const;
  // Absent: 0. Fractions and numbers beyond int64 are refused.
  absl::StatusOr<int64_t> Integer(const char* name) const;
  // Absent: nullopt.
  absl::StatusOr<std::optional<bool>> Boolean(const char* name) const;
  // Absent: empty.
  absl::StatusOr<std::vector<std::string>> Strings(const char* name) const;
  absl::StatusOr<std::vector<int64_t>> Integers(const char* name) const;
  absl::StatusOr<std::map<std::string, std::string>> StringMap(const char* name) const;
  // The member names of an object, sorted; whatever their values. Absent: empty.
  absl::StatusOr<std::vector<std::string>> Keys(const char* name) const;
  // Absent: nullopt.
  absl::StatusOr<std::optional<JsonObject>> Object(const char* name) const;
  // An array of objects; kOutOfRange above max_count. Absent: empty.
  absl::StatusOr<std::vector<JsonObject>> Objects(const char* name, size_t max_count) const;

  // kInvalidArgument: a member with another name.
  absl::Status CheckNames(std::initializer_list<std::string_view> known) const;

 private:
  JsonObject(const nlohmann::json& json, std::string path) : json_(&json), path_(std::move(path)) {}

  // nullptr: absent or null.
  const nlohmann::json* Member(const char* name) const;
  absl::Status WrongType(const std::string& path, const nlohmann::json& value,
                         const char* wanted) const;
  absl::StatusOr<std::string> ToText(const std::string& path, const nlohmann::json& value) const;
  absl::StatusOr<int64_t> ToInteger(const std::string& path, const nlohmann::json& value) const;

  const nlohmann::json* json_;
  std::string path_;  // "" at the root, else with a trailing dot
};

}  // namespace berth::oci
