#include "lib/oci/json.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/printable.h"

namespace berth::oci {

namespace {

using Json = nlohmann::json;

absl::Status Invalid(std::string_view message) {
  return base::MakeStatus(absl::StatusCode::kInvalidArgument, message);
}

// Nesting and size are counted before parsing: a document of a million brackets costs one pass over
// it, and not the hundred megabytes its tree would take.
absl::Status CheckShape(std::string_view text, int max_depth) {
  int depth = 0;
  size_t values = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    in_string = c == '"';
    const bool opens = c == '{' || c == '[';
    depth += opens ? 1 : (c == '}' || c == ']') ? -1 : 0;
    values += opens || c == ',' ? 1 : 0;
    if (depth > max_depth) {
      return base::MakeStatus(absl::StatusCode::kOutOfRange,
                              fmt::format("the JSON nests deeper than {} levels", max_depth));
    }
    if (values > kMaxJsonValues) {
      return base::MakeStatus(absl::StatusCode::kOutOfRange,
                              fmt::format("the JSON has more than {} values", kMaxJsonValues));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text, int max_depth) {
  RETURN_IF_ERROR(CheckShape(text, max_depth));
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::exception& e) {
    return Invalid(fmt::format("not valid JSON: {}", Printable(e.what(), 160)));
  }
}

absl::StatusOr<JsonObject> JsonObject::Root(const Json& document) {
  if (!document.is_object()) {
    return Invalid(fmt::format("the document is a JSON {}, not an object", document.type_name()));
  }
  return JsonObject(document, "");
}

std::string JsonObject::PathOf(const char* name) const { return path_ + name; }

const Json* JsonObject::Member(const char* name) const {
  const auto it = json_->find(name);
  return it == json_->end() || it->is_null() ? nullptr : &*it;
}

absl::Status JsonObject::WrongType(const std::string& path, const Json& value,
                                   const char* wanted) const {
  return Invalid(fmt::format("'{}' is a JSON {}, not {}", path, value.type_name(), wanted));
}

absl::StatusOr<std::string> JsonObject::ToText(const std::string& path, const Json& value) const {
  const std::string* text = value.get_ptr<const std::string*>();
  if (text == nullptr) {
    return WrongType(path, value, "a string");
  }
  if (text->find('\0') != std::string::npos) {
    return Invalid(fmt::format("'{}' has a NUL byte", path));
  }
  return *text;
}

absl::StatusOr<std::string> JsonObject::String(const char* name) const {
  const Json* value = Member(name);
  return value == nullptr ? std::string() : ToText(PathOf(name), *value);
}

absl::StatusOr<int64_t> JsonObject::ToInteger(const std::string& path, const Json& value) const {
  if (value.is_number_unsigned()) {
    const uint64_t number = *value.get_ptr<const uint64_t*>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Invalid(fmt::format("'{}' is too large", path));
    }
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) {
    return *value.get_ptr<const int64_t*>();
  }
  return WrongType(path, value, "an integer");
}

absl::StatusOr<int64_t> JsonObject::Integer(const char* name) const {
  const Json* value = Member(name);
  return value == nullptr ? 0 : ToInteger(PathOf(name), *value);
}

absl::StatusOr<std::optional<bool>> JsonObject::Boolean(const char* name) const {
  const Json* value = Member(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_boolean()) {
    return WrongType(PathOf(name), *value, "true or false");
  }
  return value->get<bool>();
}

absl::StatusOr<std::vector<int64_t>> JsonObject::Integers(const char* name) const {
  std::vector<int64_t> result;
  const Json* value = Member(name);
  if (value == nullptr) {
    return result;
  }
  if (!value->is_array()) {
    return WrongType(PathOf(name), *value, "an array");
  }
  for (const Json& element : *value) {
    ASSIGN_OR_RETURN(const int64_t number,
                     ToInteger(fmt::format("{}[{}]", PathOf(name), result.size()), element));
    result.push_back(number);
  }
  return result;
}

absl::StatusOr<std::vector<std::string>> JsonObject::Strings(const char* name) const {
  std::vector<std::string> result;
  const Json* value = Member(name);
  if (value == nullptr) {
    return result;
  }
  if (!value->is_array()) {
    return WrongType(PathOf(name), *value, "an array");
  }
  for (const Json& element : *value) {
    ASSIGN_OR_RETURN(std::string text,
                     ToText(fmt::format("{}[{}]", PathOf(name), result.size()), element));
    result.push_back(std::move(text));
  }
  return result;
}

absl::StatusOr<std::map<std::string, std::string>> JsonObject::StringMap(const char* name) const {
  std::map<std::string, std::string> result;
  const Json* value = Member(name);
  if (value == nullptr) {
    return result;
  }
  if (!value->is_object()) {
    return WrongType(PathOf(name), *value, "an object");
  }
  for (const auto& [key, element] : value->items()) {
    const std::string path = fmt::format("{}.{}", PathOf(name), Printable(key, 80));
    if (key.find('\0') != std::string::npos) {
      return Invalid(fmt::format("the name of '{}' has a NUL byte", path));
    }
    if (element.is_null()) {
      result[key] = "";
      continue;
    }
    ASSIGN_OR_RETURN(result[key], ToText(path, element));
  }
  return result;
}

absl::StatusOr<std::vector<std::string>> JsonObject::Keys(const char* name) const {
  std::vector<std::string> result;
  const Json* value = Member(name);
  if (value == nullptr) {
    return result;
  }
  if (!value->is_object()) {
    return WrongType(PathOf(name), *value, "an object");
  }
  for (const auto& [key, element] : value->items()) {
    if (key.find('\0') != std::string::npos) {
      return Invalid(fmt::format("a name in '{}' has a NUL byte", PathOf(name)));
    }
    result.push_back(key);
  }
  return result;
}

absl::StatusOr<std::optional<JsonObject>> JsonObject::Object(const char* name) const {
  const Json* value = Member(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_object()) {
    return WrongType(PathOf(name), *value, "an object");
  }
  return JsonObject(*value, PathOf(name) + ".");
}

absl::StatusOr<std::vector<JsonObject>> JsonObject::Objects(const char* name,
                                                            size_t max_count) const {
  std::vector<JsonObject> result;
  const Json* value = Member(name);
  if (value == nullptr) {
    return result;
  }
  if (!value->is_array()) {
    return WrongType(PathOf(name), *value, "an array");
  }
  if (value->size() > max_count) {
    return base::MakeStatus(
        absl::StatusCode::kOutOfRange,
        fmt::format("'{}' has {} entries, more than {}", PathOf(name), value->size(), max_count));
  }
  for (const Json& element : *value) {
    const std::string path = fmt::format("{}[{}]", PathOf(name), result.size());
    if (!element.is_object()) {
      return WrongType(path, element, "an object");
    }
    result.push_back(JsonObject(element, path + "."));
  }
  return result;
}

absl::Status JsonObject::CheckNames(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, element] : json_->items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Invalid(fmt::format("'{}' is not known", PathOf(Printable(key, 80).c_str())));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::oci
