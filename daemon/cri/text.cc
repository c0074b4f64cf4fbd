#include "daemon/cri/text.h"

#include <cstdint>

#include "fmt/format.h"

#include "lib/base/utf8.h"

namespace berth::cri {

std::string ToUtf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const size_t length = base::Utf8SequenceLength(text);
    if (length == 0) {
      result += '?';
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return result;
}

std::string JsonString(std::string_view text) {
  std::string result = "\"";
  for (const char c : ToUtf8(text)) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<uint8_t>(c) < 0x20) {
      result += fmt::format("\\u{:04x}", static_cast<uint8_t>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string OneLine(std::string_view text, size_t max_bytes) {
  std::string result;
  for (const char c : text) {
    if (result.size() >= max_bytes) {
      return result + "...";
    }
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) {
      result += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace berth::cri
