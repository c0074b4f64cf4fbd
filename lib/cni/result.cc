#include "lib/cni/result.h"

#include <arpa/inet.h>

#include <charconv>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/cni/json.h"
#include "lib/cni/network_config.h"

namespace berth::cni {

namespace {

constexpr size_t kMaxEntries = 256;

// "10.88.0.5/16", "fd00::5/64".
bool IsCidr(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) {
    return false;
  }
  const std::string address = text.substr(0, slash);
  unsigned char bytes[16];
  const bool is_v4 = ::inet_pton(AF_INET, address.c_str(), bytes) == 1;
  if (!is_v4 && ::inet_pton(AF_INET6, address.c_str(), bytes) != 1) {
    return false;
  }
  int length = -1;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + slash + 1, end, length);
  return parsed.ec == std::errc() && parsed.ptr == end && length >= 0 &&
         length <= (is_v4 ? 32 : 128);
}

// The list `key`, of objects, at most kMaxEntries; empty when absent.
absl::StatusOr<std::vector<Json>> GetObjects(const Json& object, const char* key) {
  const Json* list = FindMember(object, key);
  if (list == nullptr) {
    return std::vector<Json>();
  }
  if (!list->is_array() || list->size() > kMaxEntries) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not a list of at most {} objects", key, kMaxEntries));
  }
  for (const Json& element : *list) {
    if (!element.is_object()) {
      return absl::InvalidArgumentError(fmt::format("'{}' is not a list of objects", key));
    }
  }
  return std::vector<Json>(list->begin(), list->end());
}

absl::Status ReadRoutes(const Json& object, Result& result) {
  ASSIGN_OR_RETURN(const std::vector<Json> routes, GetObjects(object, "routes"));
  for (const Json& element : routes) {
    ResultRoute route;
    ASSIGN_OR_RETURN(route.destination, GetString(element, "dst"));
    ASSIGN_OR_RETURN(route.gateway, GetString(element, "gw"));
    result.routes.push_back(std::move(route));
  }
  return absl::OkStatus();
}

absl::Status ReadDns(const Json& object, Result& result) {
  const Json* dns = FindMember(object, "dns");
  if (dns == nullptr) {
    return absl::OkStatus();
  }
  if (!dns->is_object()) {
    return absl::InvalidArgumentError("'dns' is not an object");
  }
  ASSIGN_OR_RETURN(result.dns.nameservers, GetStrings(*dns, "nameservers"));
  ASSIGN_OR_RETURN(result.dns.domain, GetString(*dns, "domain"));
  ASSIGN_OR_RETURN(result.dns.search, GetStrings(*dns, "search"));
  ASSIGN_OR_RETURN(result.dns.options, GetStrings(*dns, "options"));
  return absl::OkStatus();
}

absl::Status AddIp(const Json& object, const char* address_key, Result& result) {
  ResultIp ip;
  ASSIGN_OR_RETURN(ip.address, GetString(object, address_key));
  if (!IsCidr(ip.address)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not an address with its prefix length", Excerpt(ip.address, 64)));
  }
  ASSIGN_OR_RETURN(ip.gateway, GetString(object, "gateway"));
  ASSIGN_OR_RETURN(const std::optional<int64_t> interface, GetInt(object, "interface"));
  if (interface.has_value() && *interface >= 0) {
    if (*interface >= static_cast<int64_t>(result.interfaces.size())) {
      return absl::InvalidArgumentError(
          fmt::format("address {} is of interface {}, of which there are {}", ip.address,
                      *interface, result.interfaces.size()));
    }
    ip.interface = static_cast<int>(*interface);
  }
  result.ips.push_back(std::move(ip));
  return absl::OkStatus();
}

// 0.1.0 and 0.2.0: {"ip4": {"ip", "gateway", "routes"}, "ip6": {...}, "dns"}.
absl::Status ReadOldForm(const Json& object, Result& result) {
  for (const char* family : {"ip4", "ip6"}) {
    const Json* entry = FindMember(object, family);
    if (entry == nullptr) {
      continue;
    }
    if (!entry->is_object()) {
      return absl::InvalidArgumentError(fmt::format("'{}' is not an object", family));
    }
    RETURN_IF_ERROR(AddIp(*entry, "ip", result));
    RETURN_IF_ERROR(ReadRoutes(*entry, result));
  }
  return ReadDns(object, result);
}

absl::Status ReadForm(const Json& object, Result& result) {
  ASSIGN_OR_RETURN(const std::vector<Json> interfaces, GetObjects(object, "interfaces"));
  for (const Json& element : interfaces) {
    ResultInterface interface;
    ASSIGN_OR_RETURN(interface.name, GetString(element, "name"));
    ASSIGN_OR_RETURN(interface.mac, GetString(element, "mac"));
    ASSIGN_OR_RETURN(interface.sandbox, GetString(element, "sandbox"));
    ASSIGN_OR_RETURN(const std::optional<int64_t> mtu, GetInt(element, "mtu"));
    interface.mtu = mtu.value_or(0);
    result.interfaces.push_back(std::move(interface));
  }
  ASSIGN_OR_RETURN(const std::vector<Json> ips, GetObjects(object, "ips"));
  for (const Json& element : ips) {
    RETURN_IF_ERROR(AddIp(element, "address", result));
  }
  RETURN_IF_ERROR(ReadRoutes(object, result));
  return ReadDns(object, result);
}

Json RenderRoutes(const std::vector<ResultRoute>& routes, const std::optional<bool>& is_ipv6) {
  Json list = Json::array();
  for (const ResultRoute& route : routes) {
    const bool v6 = route.destination.find(':') != std::string::npos;
    if (is_ipv6.has_value() && v6 != *is_ipv6) {
      continue;
    }
    Json entry = {{"dst", route.destination}};
    if (!route.gateway.empty()) {
      entry["gw"] = route.gateway;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Json RenderDns(const ResultDns& dns) {
  Json object = Json::object();
  if (!dns.nameservers.empty()) {
    object["nameservers"] = dns.nameservers;
  }
  if (!dns.domain.empty()) {
    object["domain"] = dns.domain;
  }
  if (!dns.search.empty()) {
    object["search"] = dns.search;
  }
  if (!dns.options.empty()) {
    object["options"] = dns.options;
  }
  return object;
}

void RenderOldForm(const Result& result, Json& object) {
  for (const ResultIp& ip : result.ips) {
    const bool v6 = ip.address.find(':') != std::string::npos;
    Json& entry = object[v6 ? "ip6" : "ip4"];
    if (!entry.is_null()) {
      continue;  // the old form has room for one of each
    }
    entry = {{"ip", ip.address}, {"routes", RenderRoutes(result.routes, v6)}};
    if (!ip.gateway.empty()) {
      entry["gateway"] = ip.gateway;
    }
  }
}

void RenderForm(const Result& result, const std::string& version, Json& object) {
  object["interfaces"] = Json::array();
  for (const ResultInterface& interface : result.interfaces) {
    Json entry = {{"name", interface.name}};
    if (!interface.mac.empty()) {
      entry["mac"] = interface.mac;
    }
    if (!interface.sandbox.empty()) {
      entry["sandbox"] = interface.sandbox;
    }
    if (interface.mtu != 0 && CompareVersions(version, "1.1.0") >= 0) {
      entry["mtu"] = interface.mtu;
    }
    object["interfaces"].push_back(std::move(entry));
  }
  object["ips"] = Json::array();
  for (const ResultIp& ip : result.ips) {
    Json entry = {{"address", ip.address}};
    if (CompareVersions(version, "1.0.0") < 0) {
      entry["version"] = ip.address.find(':') != std::string::npos ? "6" : "4";
    }
    if (!ip.gateway.empty()) {
      entry["gateway"] = ip.gateway;
    }
    if (ip.interface.has_value()) {
      entry["interface"] = *ip.interface;
    }
    object["ips"].push_back(std::move(entry));
  }
  object["routes"] = RenderRoutes(result.routes, std::nullopt);
}

}  // namespace

std::vector<std::string> Result::PodIps() const {
  std::vector<std::string> all;
  std::vector<std::string> inside;
  for (const ResultIp& ip : ips) {
    all.push_back(ip.Ip());
    if (!ip.interface.has_value() ||
        !interfaces[static_cast<size_t>(*ip.interface)].sandbox.empty()) {
      inside.push_back(ip.Ip());
    }
  }
  // A plugin that names no sandbox for any interface means the pod's all the same.
  return inside.empty() ? all : inside;
}

absl::StatusOr<Result> ParseResult(std::string_view json, const std::string& default_version) {
  ASSIGN_OR_RETURN(const Json object, ParseJsonObject(json));
  Result result;
  ASSIGN_OR_RETURN(result.cni_version, GetString(object, "cniVersion"));
  if (result.cni_version.empty()) {
    result.cni_version = default_version;
  }
  const std::string& version = result.cni_version;
  for (const char* old : {"0.1.0", "0.2.0"}) {
    if (version == old) {
      RETURN_IF_ERROR(ReadOldForm(object, result));
      return result;
    }
  }
  for (const char* known : {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    if (version == known) {
      RETURN_IF_ERROR(ReadForm(object, result));
      return result;
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("result of unknown cniVersion '{}'", Excerpt(version, 32)));
}

std::string RenderResult(const Result& result, const std::string& cni_version) {
  Json object = {{"cniVersion", cni_version}, {"dns", RenderDns(result.dns)}};
  if (CompareVersions(cni_version, "0.3.0") < 0) {
    RenderOldForm(result, object);
  } else {
    RenderForm(result, cni_version, object);
  }
  return DumpJson(object);
}

std::optional<PluginError> ParsePluginError(std::string_view json) {
  const absl::StatusOr<Json> object = ParseJsonObject(json);
  if (!object.ok()) {
    return std::nullopt;
  }
  const absl::StatusOr<std::optional<int64_t>> code = GetInt(*object, "code");
  const absl::StatusOr<std::string> message = GetString(*object, "msg");
  const absl::StatusOr<std::string> details = GetString(*object, "details");
  if (!code.ok() || !message.ok() || (!code->has_value() && message->empty())) {
    return std::nullopt;
  }
  const int64_t number = code->value_or(0);
  const bool fits = number >= 0 && number <= INT32_MAX;
  return PluginError{fits ? static_cast<int>(number) : 0, Excerpt(*message),
                     details.ok() ? Excerpt(*details) : ""};
}

}  // namespace berth::cni
