#include "lib/registry/proxy.h"

#include <arpa/inet.h>

#include <cctype>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "lib/oci/printable.h"

namespace berth::registry {

namespace {

std::string Lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return result;
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  return first == std::string_view::npos
             ? std::string_view()
             : text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool HasSuffix(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

// The bytes of an address: 4 or 16; "" when it is none.
std::string AddressBytes(const std::string& text) {
  unsigned char bytes[sizeof(in6_addr)];
  for (const auto& [family, size] :
       {std::pair(AF_INET, size_t{4}), std::pair(AF_INET6, size_t{16})}) {
    if (inet_pton(family, text.c_str(), bytes) == 1) {
      return std::string(reinterpret_cast<const char*>(bytes), size);
    }
  }
  return "";
}

bool IsLoopback(const std::string& address) {
  return address.size() == 4 ? address[0] == 127 : address == std::string(15, '\0') + '\1';
}

// "10.0.0.0/8"
struct Network {
  std::string address;
  int bits = 0;

  static std::optional<Network> Parse(const std::string& text) {
    const size_t slash = text.find('/');
    if (slash == std::string::npos) {
      return std::nullopt;
    }
    Network network{AddressBytes(text.substr(0, slash)), 0};
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data() + slash + 1, last, network.bits);
    const bool is_valid = error == std::errc() && end == last && !network.address.empty() &&
                          network.bits >= 0 &&
                          network.bits <= static_cast<int>(network.address.size()) * 8;
    return is_valid ? std::optional<Network>(network) : std::nullopt;
  }
  bool Contains(const std::string& other) const {
    if (other.size() != address.size()) {
      return false;
    }
    for (int bit = 0; bit < bits; ++bit) {
      const auto at = static_cast<size_t>(bit / 8);
      if (((address[at] ^ other[at]) >> (7 - bit % 8) & 1) != 0) {
        return false;
      }
    }
    return true;
  }
};

// "host:port" and "[v6]:port" taken apart; a bare IPv6 address has no port.
void SplitPort(const std::string& text, std::string& host, std::string& port) {
  host = text;
  port.clear();
  const size_t colon = text.rfind(':');
  const bool is_bare_v6 = text.find(':') != colon && text[0] != '[';
  if (colon != std::string::npos && !is_bare_v6 && !HasSuffix(text, "]")) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
}

// Whether one element of NO_PROXY is about this host.
bool Exempts(const std::string& element, const std::string& host, const std::string& address,
             const std::string& port) {
  if (const auto network = Network::Parse(element)) {
    return network->Contains(address);
  }
  std::string name;
  std::string wanted_port;
  SplitPort(element, name, wanted_port);
  if (name.empty() || (!wanted_port.empty() && wanted_port != port)) {
    return false;
  }
  if (const std::string wanted = AddressBytes(name); !wanted.empty()) {
    return wanted == address;
  }
  if (name.rfind("*.", 0) == 0) {
    name.erase(0, 1);
  }
  return name[0] == '.' ? HasSuffix(host, name) : host == name || HasSuffix(host, "." + name);
}

bool IsExempt(const Url& url, std::string_view no_proxy) {
  std::string host = url.host;
  if (host.size() > 2 && host.front() == '[') {
    host = host.substr(1, host.size() - 2);
  }
  const std::string address = AddressBytes(host);
  if (host == "localhost" || (!address.empty() && IsLoopback(address))) {
    return true;
  }
  for (size_t at = 0; at <= no_proxy.size();) {
    const size_t end = std::min(no_proxy.find(',', at), no_proxy.size());
    const std::string element = Lower(Trimmed(no_proxy.substr(at, end - at)));
    if (element == "*" || (!element.empty() && Exempts(element, host, address, url.port))) {
      return true;
    }
    at = end + 1;
  }
  return false;
}

std::string Either(const GetEnv& env, const char* upper, const char* lower) {
  std::string value = env(upper);
  return value.empty() ? env(lower) : value;
}

}  // namespace

std::string SystemEnv(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string ProxyFor(const Url& url, const GetEnv& env) {
  std::string proxy = url.scheme == "https" ? Either(env, "HTTPS_PROXY", "https_proxy")
                                            : Either(env, "HTTP_PROXY", "http_proxy");
  if (proxy.empty() || IsExempt(url, Either(env, "NO_PROXY", "no_proxy"))) {
    return "";
  }
  constexpr std::string_view kSocks = "socks5://";
  if (proxy.starts_with(kSocks)) {
    return "socks5h://" + proxy.substr(kSocks.size());
  }
  return proxy.find("://") == std::string::npos ? "http://" + proxy : proxy;
}

std::string ProxyForMessage(const std::string& proxy) {
  const size_t scheme = proxy.find("://");
  std::string rest = scheme == std::string::npos ? proxy : proxy.substr(scheme + 3);
  rest = rest.substr(0, rest.find('/', rest.rfind('@') == std::string::npos ? 0 : rest.rfind('@')));
  const size_t at = rest.rfind('@');
  return oci::Printable(at == std::string::npos ? rest : rest.substr(at + 1), 256);
}

}  // namespace berth::registry
