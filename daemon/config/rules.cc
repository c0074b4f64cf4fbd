#include "daemon/config/rules.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace berth::config {
namespace {

constexpr std::string_view kUnixScheme = "unix://";

bool IsOneOf(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool IsLowerDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool IsPlain(const std::string& text) { return std::none_of(text.begin(), text.end(), IsControl); }

bool AcceptPath(std::string& path) {
  if (!path.starts_with('/') || !IsPlain(path)) {
    return false;
  }
  while (path.size() > 1 && path.ends_with('/')) {
    path.pop_back();
  }
  const std::string bounded = path + "/";
  return bounded.find("/../") == std::string::npos && bounded.find("/./") == std::string::npos;
}

bool AcceptDirectory(std::string& path) { return AcceptPath(path) && path != "/"; }

bool IsIpAddress(const std::string& text) {
  in6_addr address;
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || parsed != end) {
    return std::nullopt;
  }
  return value;
}

bool AcceptEndpoint(std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos ||
      ParseNumber(text.substr(colon + 1)).value_or(UINT64_MAX) > 65535) {
    return false;
  }
  std::string host = text.substr(0, colon);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  }
  // An IPv6 address must stand in brackets: the last colon would be ambiguous.
  return IsIpAddress(host) && bracketed == (host.find(':') != std::string::npos);
}

bool AcceptSocketUrl(std::string& text) {
  if (!text.starts_with(kUnixScheme)) {
    return false;
  }
  std::string path = text.substr(kUnixScheme.size());
  return AcceptDirectory(path) && !text.ends_with('/') &&
         path.size() < sizeof(sockaddr_un::sun_path);
}

bool AcceptHandlerName(std::string& text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
    return IsLowerDigit(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  });
}

bool AcceptCapability(std::string& text) {
  return text.starts_with("CAP_") && text.size() > 4 &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
         });
}

bool AcceptCipherSuite(std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || IsLowerDigit(c) || c == '_' || c == '-';
  });
}

bool AcceptSysctl(std::string& text) {
  const size_t equals = text.find('=');
  return IsPlain(text) && equals != std::string::npos && equals > 0 && text.find('/') > equals &&
         text.find(' ') > equals;
}

bool AcceptUlimit(std::string& text) {
  const size_t equals = text.find('=');
  const size_t colon = text.find(':');
  if (equals == std::string::npos || equals == 0 || colon == std::string::npos || colon < equals) {
    return false;
  }
  const std::string name = text.substr(0, equals);
  const std::optional<uint64_t> soft = ParseNumber(text.substr(equals + 1, colon - equals - 1));
  const std::optional<uint64_t> hard = ParseNumber(text.substr(colon + 1));
  return std::all_of(name.begin(), name.end(), IsLowerDigit) && soft && hard && *soft <= *hard;
}

}  // namespace

const Rule kAnyText = {"text without control characters",
                       [](std::string& text) { return IsPlain(text); }};
const Rule kPath = {"an absolute path below '/' without '.' and '..'", AcceptDirectory};
const Rule kOptionalPath = {"an absolute path without '.' and '..', or \"\"",
                            [](std::string& text) { return text.empty() || AcceptPath(text); }};
const Rule kUnixUrl = {"unix:///PATH with a path of at most 107 bytes", AcceptSocketUrl};
const Rule kIpAddress = {"an IPv4 or IPv6 address",
                         [](std::string& text) { return IsIpAddress(text); }};
const Rule kOptionalEndpoint = {
    "ADDRESS:PORT (IPv6 addresses in brackets), or \"\"",
    [](std::string& text) { return text.empty() || AcceptEndpoint(text); }};
const Rule kHandlerName = {"a name of letters, digits, '-' and '_', at most 63", AcceptHandlerName};
const Rule kHandlerType = {"\"oci\"", [](std::string& text) { return text == "oci"; }};
const Rule kExecCpuAffinity = {"\"first\" or \"\"", [](std::string& text) {
                                 return IsOneOf(text, {"", "first"});
                               }};
const Rule kCgroupManager = {"\"auto\", \"systemd\" or \"cgroupfs\"", [](std::string& text) {
                               return IsOneOf(text, {"auto", "systemd", "cgroupfs"});
                             }};
const Rule kCapability = {"capabilities such as \"CAP_CHOWN\"", AcceptCapability};
const Rule kSysctl = {"\"NAME=VALUE\", the name with dots", AcceptSysctl};
const Rule kUlimit = {"\"NAME=SOFT:HARD\" such as \"nofile=1024:4096\"", AcceptUlimit};
const Rule kApparmorProfile = {"the name of an AppArmor profile, or \"unconfined\"",
                               [](std::string& text) { return IsPlain(text) && !text.empty(); }};
const Rule kTlsVersion = {"\"1.2\" or \"1.3\"", [](std::string& text) {
                            return IsOneOf(text, {"1.2", "1.3"});
                          }};
const Rule kCipherSuite = {"names of cipher suites such as \"TLS_AES_128_GCM_SHA256\"",
                           AcceptCipherSuite};
const Rule kLogLevel = {"\"trace\", \"debug\", \"info\", \"warn\", \"error\" or \"off\"",
                        [](std::string& text) {
                          return IsOneOf(text, {"trace", "debug", "info", "warn", "error", "off"});
                        }};
const Rule kLogFormat = {"\"text\" or \"json\"", [](std::string& text) {
                           return IsOneOf(text, {"text", "json"});
                         }};

}  // namespace berth::config
