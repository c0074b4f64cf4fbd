#include "lib/netns/sysctl.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <string_view>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/model/id_map.h"

namespace berth::netns {

namespace {

constexpr size_t kMaxSysctls = 256;
constexpr size_t kMaxName = 256;
constexpr size_t kMaxValue = 1024;

bool IsAlnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool Consists(std::string_view text, std::string_view others) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return IsAlnum(c) || others.find(c) != std::string_view::npos;
  });
}

// The path below /proc/sys. As sysctl.d(5): when the first separator is a '.', dots separate and a
// '/' stands for a dot in an interface's name; when it is a '/', the name is a path as it is.
std::string RelativePath(std::string_view name) {
  std::string path(name);
  const size_t first = path.find_first_of("./");
  if (first != std::string::npos && path[first] == '.') {
    for (char& c : path) {
      c = c == '.' ? '/' : c == '/' ? '.' : c;
    }
  }
  return path;
}

bool HasOddComponent(std::string_view path) {
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view component = path.substr(begin, end - begin);
    if (component.empty() || component.front() == '.' || component.back() == '.') {
      return true;
    }
    begin = end + 1;
  }
  return false;
}

bool IsIpc(std::string_view path) {
  constexpr std::string_view kIpcPrefixes[] = {"kernel/shm", "kernel/msg", "fs/mqueue/"};
  if (path == "kernel/sem") {
    return true;
  }
  return std::any_of(std::begin(kIpcPrefixes), std::end(kIpcPrefixes),
                     [&](std::string_view prefix) {
                       return path.substr(0, prefix.size()) == prefix &&
                              path.find('/', prefix.size()) == std::string_view::npos;
                     });
}

// Empty when it may be written, else what is wrong.
std::string Refusal(std::string_view name, std::string_view path, std::string_view value,
                    bool own_net, bool own_ipc) {
  if (name.empty() || name.size() > kMaxName || !Consists(name, "_./-") || HasOddComponent(path)) {
    return "the name is not a clean sysctl name";
  }
  if (value.empty() || value.size() > kMaxValue || !Consists(value, " \t_.,:/-")) {
    return fmt::format("the value must be 1 to {} characters of [A-Za-z0-9 \\t_.,:/-]", kMaxValue);
  }
  if (path.substr(0, 4) == "net/") {
    return own_net ? "" : "not allowed in a pod that uses the node's network namespace";
  }
  if (IsIpc(path)) {
    return own_ipc ? "" : "not allowed in a pod that uses the node's ipc namespace";
  }
  return "not a namespaced sysctl (net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*)";
}

// A name may hold anything: it is shown without control characters, and not at any length.
std::string Shown(std::string_view name) {
  std::string shown(name.substr(0, kMaxName));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

}  // namespace

absl::StatusOr<std::vector<SysctlWrite>> PlanSysctls(
    const std::map<std::string, std::string>& sysctls, bool own_net, bool own_ipc,
    const std::string& proc_root) {
  if (sysctls.size() > kMaxSysctls) {
    return absl::InvalidArgumentError(
        fmt::format("{} sysctls, more than {}", sysctls.size(), kMaxSysctls));
  }
  std::vector<SysctlWrite> writes;
  for (const auto& [name, value] : sysctls) {
    const std::string path = RelativePath(name);
    const std::string refusal = Refusal(name, path, value, own_net, own_ipc);
    if (!refusal.empty()) {
      return absl::InvalidArgumentError(fmt::format("sysctl '{}': {}", Shown(name), refusal));
    }
    writes.push_back({fmt::format("{}/sys/{}", proc_root, path), value, name});
  }
  return writes;
}

std::string PingGroupsOutside(const std::string& value,
                              const std::vector<model::IdMapping>& group_map) {
  uint32_t low = 0;
  uint32_t high = 0;
  char rest = 0;
  const bool is_range =
      std::sscanf(value.c_str(), "%" SCNu32 " %" SCNu32 " %c", &low, &high, &rest) == 2;
  const model::IdMapping* mapping = model::FindMapping(group_map, low);
  if (!is_range || high < low || mapping == nullptr) {
    return value;
  }
  const uint32_t length = std::min(high - low, mapping->length - 1 - (low - mapping->container_id));
  const uint32_t outside = mapping->host_id + (low - mapping->container_id);
  return fmt::format("{} {}", outside, outside + length);
}

}  // namespace berth::netns
