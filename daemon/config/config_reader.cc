// ReadToml: the only file that includes toml11, and the one place where its exceptions are caught.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "toml.hpp"

#include "daemon/config/config.h"
#include "daemon/config/config_fields.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace berth::config {
namespace {

// A std::map, so that the order of errors does not depend on hashing.
using Value = toml::basic_value<toml::discard_comments, std::map, std::vector>;

absl::Status Invalid(const std::string& file, uint32_t line, const std::string& what) {
  return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                          fmt::format("{}:{}: {}", file, line, what));
}

const char* TypeName(toml::value_t type) {
  switch (type) {
    case toml::value_t::boolean:
      return "a boolean";
    case toml::value_t::integer:
      return "an integer";
    case toml::value_t::floating:
      return "a number with a fraction";
    case toml::value_t::string:
      return "a string";
    case toml::value_t::array:
      return "an array";
    case toml::value_t::table:
      return "a table";
    case toml::value_t::empty:
      return "nothing";
    default:
      return "a date or time";
  }
}

// Reads one table into fields. The first error is kept; nothing is read after it.
class Reader {
 public:
  Reader(const Value& table, std::string prefix, const std::string& file)
      : table_(table), prefix_(std::move(prefix)), file_(file) {}

  void Text(const char* key, std::string& field, const Rule& rule) {
    if (const Value* value = Find(key)) {
      ReadText(key, *value, field, rule, "a string");
    }
  }

  void Texts(const char* key, std::vector<std::string>& field, const Rule& rule) {
    const Value* value = Find(key);
    if (value == nullptr) {
      return;
    }
    if (!value->is_array()) {
      return WrongType(key, *value, "an array of strings");
    }
    field.clear();
    for (const Value& element : value->as_array()) {
      ReadText(key, element, field.emplace_back(), rule, "an array of strings");
    }
  }

  void Number(const char* key, int& field, int min, int max) {
    const Value* value = Find(key);
    if (value == nullptr) {
      return;
    }
    if (!value->is_integer()) {
      return WrongType(key, *value, "an integer");
    }
    const int64_t number = value->as_integer();
    if (number < min || number > max) {
      return Fail(*value, fmt::format("key '{}': expected an integer from {} to {}, found {}",
                                      Name(key), min, max, number));
    }
    field = static_cast<int>(number);
  }

  void Flag(const char* key, bool& field) {
    const Value* value = Find(key);
    if (value == nullptr) {
      return;
    }
    if (!value->is_boolean()) {
      return WrongType(key, *value, "true or false");
    }
    field = value->as_boolean();
  }

  void Time(const char* key, absl::Duration& field) {
    constexpr const char* kExpected = "a duration such as \"90s\" or \"4h\"";
    const Value* value = Find(key);
    if (value == nullptr) {
      return;
    }
    if (!value->is_string()) {
      return WrongType(key, *value, kExpected);
    }
    const std::string& text = value->as_string().str;
    absl::Duration duration;
    if (!absl::ParseDuration(text, &duration) || duration < absl::ZeroDuration() ||
        duration > absl::Hours(24 * 365)) {
      return Fail(*value, fmt::format("key '{}': expected {}, at most a year, found '{}'",
                                      Name(key), kExpected, text));
    }
    field = duration;
  }

  template <typename Fields>
  void Section(const char* key, const Fields& fields) {
    const Value* value = Find(key);
    if (value == nullptr) {
      return;
    }
    if (!value->is_table()) {
      return WrongType(key, *value, "a table");
    }
    Reader section(*value, Name(key) + ".", file_);
    fields(section);
    status_ = section.Finish();
  }

  template <typename T, typename Fields>
  void Table(const char* key, std::map<std::string, T>& entries, const Rule& rule,
             const Fields& fields) {
    Section(key, [&](Reader& table) {
      for (const auto& [name, value] : table.table_.as_table()) {
        std::string entry = name;
        if (table.status_.ok() && !rule.accept(entry)) {
          table.Fail(value,
                     fmt::format("table '{}{}': expected {}", table.prefix_, name, rule.expected));
        }
        table.Section(name.c_str(),
                      [&, &name = name](Reader& section) { fields(section, entries[name]); });
      }
    });
  }

  // The first error, or one about a key that no field asked for.
  absl::Status Finish() {
    for (const auto& [key, value] : table_.as_table()) {
      if (status_.ok() && !known_.contains(key)) {
        std::string known;
        for (const std::string& name : known_) {
          known += known.empty() ? name : ", " + name;
        }
        Fail(value, fmt::format("unknown key '{}'; known here: {}", Name(key), known));
      }
    }
    return status_;
  }

 private:
  std::string Name(const std::string& key) const { return prefix_ + key; }

  void Fail(const Value& value, const std::string& what) {
    if (status_.ok()) {
      status_ = Invalid(file_, value.location().line(), what);
    }
  }

  void WrongType(const char* key, const Value& value, const char* expected) {
    Fail(value, fmt::format("key '{}': expected {}, found {}", Name(key), expected,
                            TypeName(value.type())));
  }

  // The value of a key; null when absent or when there has been an error.
  const Value* Find(const char* key) {
    known_.insert(key);
    if (!status_.ok()) {
      return nullptr;
    }
    const auto& entries = table_.as_table();
    const auto entry = entries.find(key);
    return entry == entries.end() ? nullptr : &entry->second;
  }

  void ReadText(const char* key, const Value& value, std::string& field, const Rule& rule,
                const char* type) {
    if (!value.is_string()) {
      return WrongType(key, value, type);
    }
    std::string text = value.as_string().str;
    if (!kAnyText.accept(text)) {
      return Fail(value, fmt::format("key '{}': expected {}", Name(key), kAnyText.expected));
    }
    if (!rule.accept(text)) {
      return Fail(value,
                  fmt::format("key '{}': expected {}, found '{}'", Name(key), rule.expected, text));
    }
    field = std::move(text);
  }

  const Value& table_;
  const std::string prefix_;
  const std::string& file_;
  std::set<std::string> known_;
  absl::Status status_;
};

// toml11 explains itself over several lines: "[error] toml::function: cause", then the line in
// question.
std::string FirstCause(const std::string& what) {
  std::string cause = what.substr(0, what.find('\n'));
  for (const char* prefix : {"[error] ", "toml::"}) {
    if (cause.starts_with(prefix)) {
      cause.erase(0, std::string_view(prefix).size());
    }
  }
  const size_t colon = cause.find(": ");
  if (colon != std::string::npos && cause.find(' ') > colon) {
    cause.erase(0, colon + 2);
  }
  while (cause.ends_with('.')) {
    cause.pop_back();
  }
  return cause;
}

// Whether more than kMaxDepth brackets are open somewhere. Brackets in strings and comments count
// too: near enough.
bool IsTooDeep(std::string_view text) {
  constexpr int kMaxDepth = 100;
  int depth = 0;
  for (const char c : text) {
    if (c == '[' || c == '{') {
      ++depth;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
    if (depth > kMaxDepth) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::Status ReadToml(std::string_view text, const std::string& name, Config& config) {
  // toml11 calls itself for each level and would overflow the stack.
  if (IsTooDeep(text)) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                            fmt::format("{}: more than 100 brackets are open at once", name));
  }
  // toml11 reads beyond its memory when it reports such a byte inside a string.
  if (const size_t bad = base::FindNotUtf8(text); bad != std::string_view::npos) {
    const auto lines = std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(bad), '\n');
    return Invalid(name, static_cast<uint32_t>(lines) + 1, "not TOML: a byte that is not UTF-8");
  }
  try {
    std::istringstream in{std::string(text)};
    const Value document = toml::parse<toml::discard_comments, std::map, std::vector>(in, name);
    if (!document.is_table()) {  // an empty file
      return absl::OkStatus();
    }
    Reader reader(document, "", name);
    VisitConfig(reader, config);
    return reader.Finish();
  } catch (const toml::exception& error) {
    return Invalid(name, error.location().line(), "not TOML: " + FirstCause(error.what()));
  } catch (const std::exception& error) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                            fmt::format("{}: not TOML: {}", name, FirstCause(error.what())));
  }
}

}  // namespace berth::config
