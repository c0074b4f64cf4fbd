// NetworkConfig: one CNI network, as an administrator wrote it: a list of plugins (`.conflist`) or
// a single one (`.conf`,
// `.json`), which is read as a list of one.
//
// Threads: passive values. Limits: 1 MiB, 32 plugins, JSON nested 64 deep.
// Source: CNI spec 1.1 section 1 (network configuration format); 0.3.1 for single plugins.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace berth::cni {

struct PluginConfig {
  std::string type;                    // the program's name in the plugin directories
  std::string json;                    // this plugin's object, compact
  std::set<std::string> capabilities;  // the ones declared true
};

struct NetworkConfig {
  std::string name;
  std::string cni_version;  // "0.1.0" where the file has none
  bool disable_check = false;
  bool disable_gc = false;
  std::vector<PluginConfig> plugins;
  std::string bytes;   // the file, byte for byte: what DEL uses after the file has gone
  std::string source;  // its path, for messages
};

// kInvalidArgument says what is wrong, without the path. Versions 0.1.0 to 1.1.0 are known; of
// `cniVersions` the highest known wins.
absl::StatusOr<NetworkConfig> ParseNetworkConfig(std::string_view bytes);

// Whether the network's version has the verb (STATUS and GC: 1.1.0).
bool HasStatus(const NetworkConfig& network);
bool HasGc(const NetworkConfig& network);  // and nobody disabled it

// 0 when equal, <0 when a is lower. Unreadable parts count as 0.
int CompareVersions(std::string_view a, std::string_view b);

}  // namespace berth::cni
