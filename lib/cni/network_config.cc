#include "lib/cni/network_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/cni/json.h"

namespace berth::cni {

namespace {

constexpr size_t kMaxPlugins = 32;
constexpr size_t kMaxName = 128;
constexpr std::string_view kKnownVersions[] = {"0.1.0", "0.2.0", "0.3.0", "0.3.1",
                                               "0.4.0", "1.0.0", "1.1.0"};

bool IsKnownVersion(std::string_view version) {
  return std::find(std::begin(kKnownVersions), std::end(kKnownVersions), version) !=
         std::end(kKnownVersions);
}

// CNI spec section 1: starts with a letter or digit, then those and "_.-". It becomes a directory's
// name in plugins' stores.
bool IsValidName(std::string_view name) {
  const auto is_alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  return !name.empty() && name.size() <= kMaxName && is_alnum(name[0]) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-'; });
}

std::array<int, 3> VersionParts(std::string_view version) {
  std::array<int, 3> parts = {0, 0, 0};
  const char* at = version.data();
  const char* const end = at + version.size();
  for (int& part : parts) {
    at = std::from_chars(at, end, part).ptr;
    if (at == end || *at != '.') {
      break;
    }
    ++at;
  }
  return parts;
}

absl::StatusOr<std::string> ChooseVersion(const Json& object) {
  ASSIGN_OR_RETURN(const std::string single, GetString(object, "cniVersion"));
  ASSIGN_OR_RETURN(std::vector<std::string> candidates, GetStrings(object, "cniVersions"));
  if (!single.empty()) {
    candidates.push_back(single);
  }
  if (candidates.empty()) {
    return "0.1.0";
  }
  std::string best;
  for (const std::string& candidate : candidates) {
    if (IsKnownVersion(candidate) && (best.empty() || CompareVersions(candidate, best) > 0)) {
      best = candidate;
    }
  }
  if (best.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "cniVersion '{}' is unknown: it must be 0.1.0 to 1.1.0", Excerpt(candidates.back(), 32)));
  }
  return best;
}

absl::StatusOr<PluginConfig> ParsePlugin(const Json& object) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError("not an object");
  }
  PluginConfig plugin;
  ASSIGN_OR_RETURN(plugin.type, GetString(object, "type"));
  if (plugin.type.empty()) {
    return absl::InvalidArgumentError("it has no 'type'");
  }
  if (plugin.type.find('/') != std::string::npos || plugin.type == "." || plugin.type == "..") {
    return absl::InvalidArgumentError(
        fmt::format("type '{}' is not the name of a program", Excerpt(plugin.type, 64)));
  }
  if (const Json* capabilities = FindMember(object, "capabilities"); capabilities != nullptr) {
    if (!capabilities->is_object()) {
      return absl::InvalidArgumentError("'capabilities' is not an object");
    }
    for (const auto& [capability, on] : capabilities->items()) {
      if (!on.is_boolean()) {
        return absl::InvalidArgumentError(
            fmt::format("capability '{}' is not true or false", Excerpt(capability, 64)));
      }
      if (on.get<bool>()) {
        plugin.capabilities.insert(capability);
      }
    }
  }
  plugin.json = DumpJson(object);
  return plugin;
}

}  // namespace

int CompareVersions(std::string_view a, std::string_view b) {
  const std::array<int, 3> x = VersionParts(a);
  const std::array<int, 3> y = VersionParts(b);
  return x < y ? -1 : x == y ? 0 : 1;
}

bool HasStatus(const NetworkConfig& network) {
  return CompareVersions(network.cni_version, "1.1.0") >= 0;
}

bool HasGc(const NetworkConfig& network) {
  return CompareVersions(network.cni_version, "1.1.0") >= 0 && !network.disable_gc;
}

absl::StatusOr<NetworkConfig> ParseNetworkConfig(std::string_view bytes) {
  ASSIGN_OR_RETURN(const Json object, ParseJsonObject(bytes));
  NetworkConfig network;
  network.bytes = bytes;
  ASSIGN_OR_RETURN(network.name, GetString(object, "name"));
  if (!IsValidName(network.name)) {
    return absl::InvalidArgumentError(fmt::format(
        "name '{}' must be letters, digits, '_', '.', '-' and start with a letter or digit",
        Excerpt(network.name, 64)));
  }
  ASSIGN_OR_RETURN(network.cni_version, ChooseVersion(object));
  ASSIGN_OR_RETURN(network.disable_check, GetBool(object, "disableCheck"));
  ASSIGN_OR_RETURN(network.disable_gc, GetBool(object, "disableGC"));

  const Json* plugins = FindMember(object, "plugins");
  const Json single = plugins == nullptr ? Json::array({object}) : Json();
  if (plugins == nullptr) {
    plugins = &single;
  }
  if (!plugins->is_array() || plugins->empty() || plugins->size() > kMaxPlugins) {
    return absl::InvalidArgumentError(
        fmt::format("'plugins' is not a list of 1 to {} plugins", kMaxPlugins));
  }
  for (size_t i = 0; i < plugins->size(); ++i) {
    absl::StatusOr<PluginConfig> plugin = ParsePlugin((*plugins)[i]);
    if (!plugin.ok()) {
      return base::Annotate(plugin.status(), fmt::format("plugin {}", i + 1));
    }
    network.plugins.push_back(*std::move(plugin));
  }
  return network;
}

}  // namespace berth::cni
