#include "lib/cni/json.h"

#include "fmt/format.h"

namespace berth::cni {

namespace {

absl::Status WrongType(const char* key, const char* wanted) {
  return absl::InvalidArgumentError(fmt::format("'{}' is not {}", key, wanted));
}

}  // namespace

absl::StatusOr<Json> ParseJsonObject(std::string_view text) {
  if (text.size() > kMaxJsonBytes) {
    return absl::InvalidArgumentError(fmt::format("longer than {} bytes", kMaxJsonBytes));
  }
  bool too_deep = false;
  const Json::parser_callback_t bound_depth = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kMaxJsonDepth;
    return !too_deep;
  };
  Json value;
  try {
    value = Json::parse(text.begin(), text.end(), bound_depth);
  } catch (const Json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, ...": the bracket is the library's
    // own.
    std::string_view what = e.what();
    const size_t end = what.find("] ");
    what.remove_prefix(end == std::string_view::npos ? 0 : end + 2);
    return absl::InvalidArgumentError(fmt::format("not JSON: {}", Excerpt(what, 200)));
  }
  if (too_deep) {
    return absl::InvalidArgumentError(fmt::format("JSON nested deeper than {}", kMaxJsonDepth));
  }
  if (!value.is_object()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  return value;
}

std::string DumpJson(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json* FindMember(const Json& object, const char* key) {
  if (!object.is_object()) {
    return nullptr;
  }
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

absl::StatusOr<std::string> GetString(const Json& object, const char* key) {
  const Json* member = FindMember(object, key);
  if (member == nullptr) {
    return "";
  }
  if (!member->is_string()) {
    return WrongType(key, "a string");
  }
  return member->get_ref<const std::string&>();
}

absl::StatusOr<std::vector<std::string>> GetStrings(const Json& object, const char* key) {
  std::vector<std::string> strings;
  const Json* member = FindMember(object, key);
  if (member == nullptr) {
    return strings;
  }
  if (!member->is_array()) {
    return WrongType(key, "a list of strings");
  }
  for (const Json& element : *member) {
    if (!element.is_string()) {
      return WrongType(key, "a list of strings");
    }
    strings.push_back(element.get_ref<const std::string&>());
  }
  return strings;
}

absl::StatusOr<std::optional<int64_t>> GetInt(const Json& object, const char* key) {
  const Json* member = FindMember(object, key);
  if (member == nullptr) {
    return std::optional<int64_t>();
  }
  const bool fits =
      member->is_number_integer() && (!member->is_number_unsigned() ||
                                      member->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  if (!fits) {
    return WrongType(key, "a whole number");
  }
  return std::optional<int64_t>(member->get<int64_t>());
}

absl::StatusOr<bool> GetBool(const Json& object, const char* key) {
  const Json* member = FindMember(object, key);
  if (member == nullptr) {
    return false;
  }
  if (member->is_boolean()) {
    return member->get<bool>();
  }
  // The specification says that runtimes accept the words, too (disableCheck).
  if (*member == "true" || *member == "false") {
    return *member == "true";
  }
  return WrongType(key, "true or false");
}

std::string Excerpt(std::string_view text, size_t limit) {
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') {
    text.remove_suffix(1);
  }
  std::string line(text.substr(0, limit));
  for (char& c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < ' ' || byte == 0x7f) {
      c = ' ';
    }
  }
  if (text.size() > limit) {
    // Not in the middle of a character.
    while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xc0) == 0x80) {
      line.pop_back();
    }
    if (!line.empty() && static_cast<unsigned char>(line.back()) >= 0xc0) {
      line.pop_back();
    }
    line += "...";
  }
  return line;
}

}  // namespace berth::cni
