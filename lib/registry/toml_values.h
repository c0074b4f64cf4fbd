// Typed access to the values of a TOML table, with errors that name file, line and key. Part of
// reading registries.conf; with registries_conf_parse.cc the only user of toml11 in this library.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include <toml.hpp>

namespace berth::registry {

// "file:line"
std::string Where(const toml::value& value);
absl::Status Bad(const toml::value& value, std::string_view what);
absl::Status WrongType(const std::string& key, const toml::value& value, const char* wanted);

// nullptr when absent.
const toml::value* Find(const toml::value& table, const std::string& key);

// Absent: `out` stays.
absl::Status ReadString(const toml::value& table, const std::string& key, std::string& out);
absl::Status ReadBool(const toml::value& table, const std::string& key, bool& out);
// An array of strings; nullopt when absent.
absl::StatusOr<std::optional<std::vector<std::string>>> ReadStrings(const toml::value& table,
                                                                    const std::string& key);
// The elements of an array of tables; empty when absent.
absl::StatusOr<std::vector<toml::value>> ReadTables(const toml::value& table,
                                                    const std::string& key);

}  // namespace berth::registry
