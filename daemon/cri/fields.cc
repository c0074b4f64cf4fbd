#include "daemon/cri/fields.h"

#include <algorithm>

#include "fmt/format.h"

#include "daemon/cri/text.h"
#include "lib/base/status.h"

namespace berth::cri {

namespace {

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

absl::StatusOr<std::map<std::string, std::string>> ParsePairs(std::string_view field,
                                                              const ProtoPairs& pairs,
                                                              size_t max_pair_bytes) {
  std::map<std::string, std::string> result;
  size_t total = 0;
  for (const auto& [key, value] : pairs) {
    if (key.empty()) {
      return FieldError(field, "has an empty key");
    }
    const std::string name = fmt::format("{}['{}']", field, OneLine(key, 64));
    if (key.size() + value.size() > max_pair_bytes) {
      return FieldError(name,
                        fmt::format("is {} bytes of key and value together; at most {} are allowed",
                                    key.size() + value.size(), max_pair_bytes));
    }
    RETURN_IF_ERROR(CheckNoNul(name, key));
    RETURN_IF_ERROR(CheckNoNul(name, value));
    total += key.size() + value.size();
    result.emplace(key, value);
  }
  if (total > kMaxPairsBytes) {
    return FieldError(field,
                      fmt::format("is {} bytes; at most {} are allowed", total, kMaxPairsBytes));
  }
  return result;
}

}  // namespace

absl::Status FieldError(std::string_view field, std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("{} {}", field, what));
}

absl::Status CheckNoNul(std::string_view field, const std::string& value) {
  return value.find('\0') == std::string::npos ? absl::OkStatus()
                                               : FieldError(field, "contains a NUL byte");
}

absl::StatusOr<std::vector<std::string>> ParseTexts(
    std::string_view field, const google::protobuf::RepeatedPtrField<std::string>& values) {
  for (int i = 0; i < values.size(); ++i) {
    RETURN_IF_ERROR(CheckNoNul(fmt::format("{}[{}]", field, i), values[i]));
  }
  return std::vector<std::string>(values.begin(), values.end());
}

absl::Status CheckWord(std::string_view field, const std::string& value, size_t max_bytes) {
  if (value.size() > max_bytes) {
    return FieldError(field,
                      fmt::format("is {} bytes; at most {} are allowed", value.size(), max_bytes));
  }
  RETURN_IF_ERROR(CheckNoNul(field, value));
  return std::any_of(value.begin(), value.end(), IsControl)
             ? FieldError(field, "contains a control character")
             : absl::OkStatus();
}

absl::Status CheckName(std::string_view field, const std::string& value, size_t max_bytes) {
  return value.empty() ? FieldError(field, "is missing") : CheckWord(field, value, max_bytes);
}

absl::Status CheckAbsolutePath(std::string_view field, const std::string& value) {
  if (value.empty()) {
    return FieldError(field, "is missing");
  }
  RETURN_IF_ERROR(CheckNoNul(field, value));
  return value[0] == '/'
             ? absl::OkStatus()
             : FieldError(field, fmt::format("'{}' is not an absolute path", OneLine(value)));
}

absl::Status CheckNotWindows(std::string_view field, const google::protobuf::Message& settings) {
  return settings.ByteSizeLong() == 0 ? absl::OkStatus()
                                      : FieldError(field, "is set; this node runs Linux");
}

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(std::string_view field,
                                                               const ProtoPairs& pairs) {
  return ParsePairs(field, pairs, kMaxLabelBytes);
}

absl::StatusOr<std::map<std::string, std::string>> ParseAnnotations(std::string_view field,
                                                                    const ProtoPairs& pairs) {
  return ParsePairs(field, pairs, kMaxPairsBytes);
}

}  // namespace berth::cri
