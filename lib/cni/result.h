// Result: what a CNI plugin answered to ADD, whatever version of the specification it speaks (0.1.0
// to 1.1.0). Passive values; pure functions. Limits: 1 MiB, JSON nested 64 deep, 256 interfaces,
// addresses and routes each. Source: CNI spec section 5 (result types) of 0.2.0, 0.4.0, 1.0.0
// and 1.1.0.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace berth::cni {

struct ResultInterface {
  std::string name;
  std::string mac;
  std::string sandbox;  // the netns path; empty: on the node
  int64_t mtu = 0;      // 0: not told
};

struct ResultIp {
  std::string address;           // "10.88.0.5/16"
  std::string gateway;           // may be empty
  std::optional<int> interface;  // index into interfaces
  // The address alone: "10.88.0.5".
  std::string Ip() const { return address.substr(0, address.find('/')); }
};

struct ResultRoute {
  std::string destination;
  std::string gateway;
};

struct ResultDns {
  std::vector<std::string> nameservers;
  std::string domain;
  std::vector<std::string> search;
  std::vector<std::string> options;
};

struct Result {
  std::string cni_version;
  std::vector<ResultInterface> interfaces;
  std::vector<ResultIp> ips;
  std::vector<ResultRoute> routes;
  ResultDns dns;

  // Addresses of the pod in the plugin's order: those on an interface inside a sandbox or on none
  // in particular.
  std::vector<std::string> PodIps() const;
};

// kInvalidArgument: not a result (not JSON, not an object, an address that is none, an index out of
// range, an unknown version). A result without cniVersion is read as `default_version`'s.
absl::StatusOr<Result> ParseResult(std::string_view json, const std::string& default_version);

// The JSON of `result` in the form that `cni_version` prescribes: for a plugin whose answer has
// another version than the network.
std::string RenderResult(const Result& result, const std::string& cni_version);

// What a failing plugin prints: {"code": 7, "msg": "...", "details": "..."}. Nothing when it is not
// that.
struct PluginError {
  int code = 0;
  std::string message;
  std::string details;
};
std::optional<PluginError> ParsePluginError(std::string_view json);

}  // namespace berth::cni
