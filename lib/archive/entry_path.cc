#include "lib/archive/entry_path.h"

#include <climits>

#include "fmt/format.h"

namespace berth::archive {

namespace {

constexpr std::string_view kWhiteoutPrefix = ".wh.";
constexpr std::string_view kAufsPrefix = ".wh..wh.";
constexpr std::string_view kOpaqueName = ".wh..wh..opq";

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// For messages: a hostile name may be megabytes long.
std::string Shown(std::string_view raw) {
  constexpr size_t kShown = 256;
  return raw.size() <= kShown ? std::string(raw) : std::string(raw.substr(0, kShown)) + "...";
}

}  // namespace

absl::StatusOr<std::string> CleanEntryPath(std::string_view raw, const LayerLimits& limits) {
  std::string clean;
  size_t depth = 0;
  size_t begin = 0;
  while (begin < raw.size()) {
    size_t end = raw.find('/', begin);
    if (end == std::string_view::npos) {
      end = raw.size();
    }
    const std::string_view name = raw.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty() || name == ".") {
      continue;
    }
    if (name == "..") {
      if (depth == 0) {
        return absl::InvalidArgumentError(
            fmt::format("entry '{}' leads out of the layer", Shown(raw)));
      }
      const size_t slash = clean.rfind('/');
      clean.resize(slash == std::string::npos ? 0 : slash);
      --depth;
      continue;
    }
    if (name.size() > NAME_MAX) {
      return absl::InvalidArgumentError(fmt::format(
          "entry '{}' has a name of {} bytes; {} are possible", Shown(raw), name.size(), NAME_MAX));
    }
    if (!clean.empty()) {
      clean.push_back('/');
    }
    clean.append(name);
    ++depth;
    if (clean.size() > limits.max_path_bytes || depth > limits.max_path_depth) {
      return absl::InvalidArgumentError(
          fmt::format("entry '{}' is longer than {} bytes or deeper than {} directories",
                      Shown(raw), limits.max_path_bytes, limits.max_path_depth));
    }
  }
  return clean;
}

SplitPath SplitEntryPath(std::string_view clean) {
  const size_t slash = clean.rfind('/');
  if (slash == std::string_view::npos) {
    return {{}, clean};
  }
  return {clean.substr(0, slash), clean.substr(slash + 1)};
}

absl::StatusOr<Whiteout> ParseWhiteout(std::string_view clean) {
  const auto [parent, name] = SplitEntryPath(clean);
  if (StartsWith(parent, kWhiteoutPrefix) || parent.find("/.wh.") != std::string_view::npos) {
    if (StartsWith(parent, kAufsPrefix)) {
      return Whiteout{Whiteout::Kind::kIgnored, {}};
    }
    return absl::InvalidArgumentError(fmt::format("entry '{}' is below a whiteout", Shown(clean)));
  }
  if (!StartsWith(name, kWhiteoutPrefix)) {
    return Whiteout{};
  }
  if (name == kOpaqueName) {
    return Whiteout{Whiteout::Kind::kOpaque, {}};
  }
  if (StartsWith(name, kAufsPrefix)) {
    return Whiteout{Whiteout::Kind::kIgnored, {}};
  }
  const std::string_view hidden = name.substr(kWhiteoutPrefix.size());
  if (hidden.empty() || hidden == "." || hidden == "..") {
    return absl::InvalidArgumentError(
        fmt::format("whiteout '{}' names no file of its directory", Shown(clean)));
  }
  return Whiteout{Whiteout::Kind::kHide, std::string(hidden)};
}

}  // namespace berth::archive
