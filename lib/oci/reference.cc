#include "lib/oci/reference.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/printable.h"

namespace berth::oci {

namespace {

constexpr std::string_view kDockerDomain = "docker.io";
constexpr std::string_view kLegacyDockerDomain = "index.docker.io";
constexpr std::string_view kOfficialPrefix = "library/";
constexpr std::string_view kDefaultTag = "latest";
constexpr size_t kMaxText = 1024;

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLowerAlnum(char c) { return IsLower(c) || IsDigit(c); }
bool IsAlnum(char c) { return IsLowerAlnum(c) || IsUpper(c); }
bool IsLowerHexDigit(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); }

bool AllOf(std::string_view text, bool (*predicate)(char)) {
  return std::all_of(text.begin(), text.end(), predicate);
}

// component := alnum+ (('.' | '_' | '__' | '-'+) alnum+)*
bool IsPathComponent(std::string_view text) {
  size_t i = 0;
  while (true) {
    const size_t word = i;
    while (i < text.size() && IsLowerAlnum(text[i])) {
      ++i;
    }
    if (i == word) {
      return false;
    }
    if (i == text.size()) {
      return true;
    }
    const size_t separator = i;
    while (i < text.size() && text[i] == text[separator]) {
      ++i;
    }
    const size_t length = i - separator;
    const char kind = text[separator];
    if (!(kind == '-' || (kind == '_' && length <= 2) || (kind == '.' && length == 1))) {
      return false;
    }
  }
}

bool IsPath(std::string_view text) {
  while (true) {
    const size_t slash = text.find('/');
    if (!IsPathComponent(text.substr(0, slash))) {
      return false;
    }
    if (slash == std::string_view::npos) {
      return true;
    }
    text.remove_prefix(slash + 1);
  }
}

bool IsPort(std::string_view text) {
  if (text.empty() || text.size() > 5 || !AllOf(text, IsDigit)) {
    return false;
  }
  int port = 0;
  for (const char c : text) {
    port = port * 10 + (c - '0');
  }
  return port >= 1 && port <= 65535;
}

// Dot-separated labels of letters, digits and inner hyphens; covers IPv4 too.
bool IsHostName(std::string_view text) {
  if (text.empty() || text.size() > 253) {
    return false;
  }
  while (true) {
    const size_t dot = text.find('.');
    const std::string_view label = text.substr(0, dot);
    const bool ok = !label.empty() && IsAlnum(label.front()) && IsAlnum(label.back()) &&
                    AllOf(label, [](char c) { return IsAlnum(c) || c == '-'; });
    if (!ok) {
      return false;
    }
    if (dot == std::string_view::npos) {
      return true;
    }
    text.remove_prefix(dot + 1);
  }
}

bool IsDomain(std::string_view text) {
  if (!text.empty() && text.front() == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) {
      return false;
    }
    const std::string_view address = text.substr(1, end - 1);
    const std::string_view rest = text.substr(end + 1);
    const bool is_address =
        address.size() >= 2 && address.size() <= 45 &&
        address.find(':') != std::string_view::npos && AllOf(address, [](char c) {
          return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':';
        });
    return is_address && (rest.empty() || (rest.front() == ':' && IsPort(rest.substr(1))));
  }
  const size_t colon = text.find(':');
  return IsHostName(text.substr(0, colon)) &&
         (colon == std::string_view::npos || IsPort(text.substr(colon + 1)));
}

bool IsTag(std::string_view text) {
  const auto is_word = [](char c) { return IsAlnum(c) || c == '_'; };
  return !text.empty() && text.size() <= Reference::kMaxTag && is_word(text.front()) &&
         AllOf(text, [](char c) { return IsAlnum(c) || c == '_' || c == '.' || c == '-'; });
}

absl::Status Invalid(std::string_view text, std::string_view why) {
  return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                          fmt::format("parse image reference '{}': {}", Printable(text), why));
}

struct ParsedName {
  std::string domain;
  std::string path;
  bool is_short = false;
};

// A first component is a domain when nothing on docker.io could be called so.
bool LooksLikeDomain(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:[") != std::string_view::npos ||
         std::any_of(first.begin(), first.end(), IsUpper);
}

absl::StatusOr<ParsedName> ParseName(std::string_view text, std::string_view name) {
  ParsedName result;
  std::string_view path = name;
  const size_t slash = name.find('/');
  if (slash != std::string_view::npos && LooksLikeDomain(name.substr(0, slash))) {
    result.domain = std::string(name.substr(0, slash));
    path = name.substr(slash + 1);
  } else {
    result.domain = std::string(kDockerDomain);
    result.is_short = true;
    if (IsFullImageId(name)) {
      return Invalid(text, "64 hex digits are an image id, not a name");
    }
  }
  if (result.domain == kLegacyDockerDomain) {
    result.domain = std::string(kDockerDomain);
  }

  if (!IsDomain(result.domain)) {
    return Invalid(
        text, fmt::format("'{}' is not a host name with optional port", Printable(result.domain)));
  }
  if (path.empty()) {
    return Invalid(text, "the repository name is missing");
  }
  if (!IsPath(path)) {
    const bool upper = std::any_of(path.begin(), path.end(), IsUpper);
    return Invalid(text, upper ? "the repository name must be lower case"
                               : "the repository name may only have lower-case letters and digits, "
                                 "separated by '/', '.', '_', '__' or '-'");
  }
  result.path = std::string(path);
  if (result.domain == kDockerDomain && path.find('/') == std::string_view::npos) {
    result.path.insert(0, kOfficialPrefix);
  }
  if (result.path.size() > Reference::kMaxPath) {
    return Invalid(
        text, fmt::format("the repository name is longer than {} characters", Reference::kMaxPath));
  }
  return result;
}

std::string_view WithoutSha256(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  return text.substr(0, kPrefix.size()) == kPrefix ? text.substr(kPrefix.size()) : text;
}

}  // namespace

absl::StatusOr<Reference> Reference::Parse(std::string_view text) {
  if (text.empty()) {
    return Invalid(text, "it is empty");
  }
  if (text.size() > kMaxText) {
    return Invalid(text, fmt::format("it is longer than {} characters", kMaxText));
  }
  if (IsFullImageId(text)) {  // "sha256:<hex>" would else be a tag of docker.io/library/sha256
    return Invalid(text, "64 hex digits are an image id, not a name");
  }
  Reference result;
  std::string_view rest = text;
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    auto digest = Digest::Parse(rest.substr(at + 1));
    if (!digest.ok()) {
      return Invalid(text, std::string(digest.status().message()));
    }
    result.digest_ = *std::move(digest);
    rest = rest.substr(0, at);
  }
  // The last colon starts a tag unless a slash follows (then it was a port) or it is inside
  // "[...]".
  if (const size_t colon = rest.rfind(':');
      colon != std::string_view::npos &&
      rest.find_first_of("/]", colon) == std::string_view::npos) {
    const std::string_view tag = rest.substr(colon + 1);
    if (!IsTag(tag)) {
      return Invalid(text, fmt::format("'{}' is not a tag: up to {} letters, digits, '_', '.', '-'",
                                       Printable(tag, 40), kMaxTag));
    }
    result.tag_ = std::string(tag);
    rest = rest.substr(0, colon);
  }
  if (result.digest_) {
    result.tag_.clear();
  } else if (result.tag_.empty()) {
    result.tag_ = std::string(kDefaultTag);
  }

  ASSIGN_OR_RETURN(ParsedName name, ParseName(text, rest));
  result.domain_ = std::move(name.domain);
  result.path_ = std::move(name.path);
  if (name.is_short) {
    result.short_name_ = std::string(rest);
  }
  return result;
}

std::string Reference::ToString() const {
  return digest_ ? fmt::format("{}@{}", Name(), digest_->ToString())
                 : fmt::format("{}:{}", Name(), tag_);
}

std::string Reference::FamiliarName() const {
  if (domain_ != kDockerDomain) {
    return Name();
  }
  const std::string_view path = path_;
  if (path.substr(0, kOfficialPrefix.size()) == kOfficialPrefix) {
    const std::string_view rest = path.substr(kOfficialPrefix.size());
    if (rest.find('/') == std::string_view::npos && !IsFullImageId(rest)) {
      return std::string(rest);
    }
  }
  // "localhost/app" on docker.io would be read as a host without its domain.
  return LooksLikeDomain(path.substr(0, path.find('/'))) ? Name() : path_;
}

std::string Reference::ToFamiliarString() const {
  return digest_ ? fmt::format("{}@{}", FamiliarName(), digest_->ToString())
                 : fmt::format("{}:{}", FamiliarName(), tag_);
}

Reference Reference::WithTag(std::string tag) const {
  Reference result = *this;
  result.tag_ = std::move(tag);
  result.digest_.reset();
  return result;
}

Reference Reference::WithDigest(Digest digest) const {
  Reference result = *this;
  result.tag_.clear();
  result.digest_ = std::move(digest);
  return result;
}

absl::StatusOr<Reference> Reference::WithName(std::string_view name) const {
  ASSIGN_OR_RETURN(ParsedName parsed, ParseName(name, name));
  Reference result = *this;
  result.domain_ = std::move(parsed.domain);
  result.path_ = std::move(parsed.path);
  result.short_name_.clear();
  return result;
}

bool IsFullImageId(std::string_view text) {
  const std::string_view hex = WithoutSha256(text);
  return hex.size() == 64 && AllOf(hex, IsLowerHexDigit);
}

bool MayBeImageIdPrefix(std::string_view text) {
  const std::string_view hex = WithoutSha256(text);
  return hex.size() >= 3 && hex.size() <= 64 && AllOf(hex, IsLowerHexDigit);
}

}  // namespace berth::oci
