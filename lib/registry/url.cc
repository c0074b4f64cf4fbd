#include "lib/registry/url.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "curl/curl.h"
#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/printable.h"

namespace berth::registry {

namespace {

constexpr size_t kMaxUrl = 16384;

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using CurlUrl = std::unique_ptr<CURLU, FreeUrl>;

std::string Part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* value = nullptr;
  if (curl_url_get(url, part, &value, flags) != CURLUE_OK) {
    return "";
  }
  std::string result = value;
  curl_free(value);
  return result;
}

std::string WithoutQuery(std::string_view text) {
  return oci::Printable(text.substr(0, text.find_first_of("?#")));
}

// A name of DNS or an address. libcurl decodes "%7f" in a host, and then anything is in it.
bool IsHost(std::string_view host) {
  const bool is_ip6 = host.starts_with('[') && host.ends_with(']');
  return std::all_of(host.begin(), host.end(), [&](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_' ||
           (is_ip6 && (c == ':' || c == '%' || c == '[' || c == ']'));
  });
}

absl::StatusOr<Url> Extract(CURLU* url, std::string_view shown) {
  const auto bad = [&](std::string_view why) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                            fmt::format("URL '{}' {}", WithoutQuery(shown), why));
  };
  Url result;
  result.scheme = Part(url, CURLUPART_SCHEME);
  result.host = Part(url, CURLUPART_HOST);
  if (result.scheme != "http" && result.scheme != "https") {
    return bad("is neither http nor https");
  }
  if (!Part(url, CURLUPART_USER).empty() || !Part(url, CURLUPART_PASSWORD).empty()) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                            fmt::format("a URL at '{}' has a user in it", result.host));
  }
  for (char& c : result.host) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  if (!IsHost(result.host)) {
    return bad("has a host that is neither a name nor an address");
  }
  result.port = Part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  curl_url_set(url, CURLUPART_FRAGMENT, nullptr, 0);
  result.text = Part(url, CURLUPART_URL);
  if (result.host.empty() || result.port.empty() || result.text.empty() ||
      result.text.size() > kMaxUrl) {
    return bad("has no host or is too long");
  }
  return result;
}

}  // namespace

absl::StatusOr<Url> Url::Parse(std::string_view text) {
  CurlUrl url(curl_url());
  BERTH_CHECK(url != nullptr);
  if (text.size() > kMaxUrl ||
      curl_url_set(url.get(), CURLUPART_URL, std::string(text).c_str(), 0) != CURLUE_OK) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                            fmt::format("'{}' is not a URL", WithoutQuery(text)));
  }
  return Extract(url.get(), text);
}

absl::StatusOr<Url> Url::Resolve(std::string_view location) const {
  CurlUrl url(curl_url());
  BERTH_CHECK(url != nullptr);
  if (location.empty() || location.size() > kMaxUrl ||
      curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK ||
      curl_url_set(url.get(), CURLUPART_URL, std::string(location).c_str(), CURLU_URLENCODE) !=
          CURLUE_OK) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                            fmt::format("'{}' is not a URL", WithoutQuery(location)));
  }
  return Extract(url.get(), location);
}

std::string Url::HostPort() const {
  const bool is_default = port == (scheme == "https" ? "443" : "80");
  return is_default ? host : host + ":" + port;
}

std::string Url::ForMessage() const { return WithoutQuery(text); }

std::string UrlEncode(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string result;
  for (const char c : text) {
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                            (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved) {
      result += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      result += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return result;
}

}  // namespace berth::registry
