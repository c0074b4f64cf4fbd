#include "lib/spec/text.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::spec {

bool IsUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const size_t more = lead < 0x80             ? 0
                        : (lead & 0xe0) == 0xc0 ? 1
                        : (lead & 0xf0) == 0xe0 ? 2
                        : (lead & 0xf8) == 0xf0 ? 3
                                                : 4;
    if (more == 4 || i + more >= text.size()) {
      return false;
    }
    uint32_t code = more == 0 ? lead : lead & (0x3fu >> more);
    for (size_t k = 1; k <= more; ++k) {
      const auto next = static_cast<uint8_t>(text[i + k]);
      if ((next & 0xc0) != 0x80) {
        return false;
      }
      code = code << 6 | (next & 0x3f);
    }
    constexpr uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
      return false;
    }
    i += more + 1;
  }
  return true;
}

bool HasControlCharacters(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

absl::Status CheckText(std::string_view text, std::string_view what) {
  if (text.size() > kMaxStringBytes) {
    return absl::InvalidArgumentError(
        fmt::format("{} is longer than {} bytes", what, kMaxStringBytes));
  }
  if (text.find('\0') != std::string_view::npos) {
    return absl::InvalidArgumentError(fmt::format("{} holds a NUL byte", what));
  }
  if (!IsUtf8(text)) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not UTF-8, which the OCI runtime's config.json needs", what));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> CleanAbsolutePath(const std::string& path, std::string_view what) {
  RETURN_IF_ERROR(CheckText(path, what));
  if (path.empty() || path.front() != '/') {
    return absl::InvalidArgumentError(fmt::format("{} '{}' is not an absolute path", what, path));
  }
  std::vector<std::string_view> parts;
  const std::string_view view = path;
  for (size_t begin = 0; begin < view.size();) {
    const size_t end = std::min(view.find('/', begin), view.size());
    const std::string_view part = view.substr(begin, end - begin);
    begin = end + 1;
    if (part == ".." && !parts.empty()) {
      parts.pop_back();
    } else if (!part.empty() && part != "." && part != "..") {
      parts.push_back(part);
    }
  }
  return parts.empty() ? std::string("/") : fmt::format("/{}", fmt::join(parts, "/"));
}

bool IsBelowOrSame(std::string_view path, std::string_view dir) {
  if (dir == "/" || path == dir) {
    return true;
  }
  return path.size() > dir.size() && path.substr(0, dir.size()) == dir && path[dir.size()] == '/';
}

}  // namespace berth::spec
