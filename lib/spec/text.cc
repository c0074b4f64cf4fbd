#include "lib/spec/text.h"

#include <algorithm>
#include <vector>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace berth::spec {

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
  if (!base::IsUtf8(text)) {
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
