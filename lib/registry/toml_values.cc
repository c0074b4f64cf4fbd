#include "lib/registry/toml_values.h"

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::registry {

namespace {

const char* TypeName(const toml::value& value) {
  switch (value.type()) {
    case toml::value_t::boolean:
      return "a boolean";
    case toml::value_t::integer:
      return "an integer";
    case toml::value_t::string:
      return "a string";
    case toml::value_t::array:
      return "an array";
    case toml::value_t::table:
      return "a table";
    default:
      return "of another type";
  }
}

}  // namespace

std::string Where(const toml::value& value) {
  return fmt::format("{}:{}", value.location().file_name(), value.location().line());
}

absl::Status Bad(const toml::value& value, std::string_view what) {
  return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                          fmt::format("{}: {}", Where(value), what));
}

absl::Status WrongType(const std::string& key, const toml::value& value, const char* wanted) {
  return Bad(value, fmt::format("'{}' is {}, not {}", key, TypeName(value), wanted));
}

const toml::value* Find(const toml::value& table, const std::string& key) {
  const auto it = table.as_table(std::nothrow).find(key);
  return it == table.as_table(std::nothrow).end() ? nullptr : &it->second;
}

absl::Status ReadString(const toml::value& table, const std::string& key, std::string& out) {
  const toml::value* value = Find(table, key);
  if (value == nullptr) {
    return absl::OkStatus();
  }
  if (!value->is_string()) {
    return WrongType(key, *value, "a string");
  }
  out = value->as_string(std::nothrow).str;
  return absl::OkStatus();
}

absl::Status ReadBool(const toml::value& table, const std::string& key, bool& out) {
  const toml::value* value = Find(table, key);
  if (value == nullptr) {
    return absl::OkStatus();
  }
  if (!value->is_boolean()) {
    return WrongType(key, *value, "a boolean");
  }
  out = value->as_boolean(std::nothrow);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<toml::value>> ReadTables(const toml::value& table,
                                                    const std::string& key) {
  const toml::value* value = Find(table, key);
  if (value == nullptr) {
    return std::vector<toml::value>();
  }
  if (!value->is_array()) {
    return WrongType(key, *value, "an array of tables ([[...]])");
  }
  for (const toml::value& element : value->as_array(std::nothrow)) {
    if (!element.is_table()) {
      return WrongType(key, element, "a table");
    }
  }
  return value->as_array(std::nothrow);
}

absl::StatusOr<std::optional<std::vector<std::string>>> ReadStrings(const toml::value& table,
                                                                    const std::string& key) {
  const toml::value* value = Find(table, key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_array()) {
    return WrongType(key, *value, "an array of strings");
  }
  std::vector<std::string> strings;
  for (const toml::value& element : value->as_array(std::nothrow)) {
    if (!element.is_string()) {
      return WrongType(key, element, "a string");
    }
    strings.push_back(element.as_string(std::nothrow).str);
  }
  return strings;
}

}  // namespace berth::registry
