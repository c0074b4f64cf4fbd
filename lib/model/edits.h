// ContainerEdits: what the administrator's files add to a container's OCI spec besides its request:
// CDI devices (lib/cdi) and OCI hooks (lib/hooks). lib/spec applies them.
//
// Passive values. Source: CDI specification 1.0.0 "OCI Edits"; OCI runtime-spec config.md "POSIX
// platform Hooks".
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace berth::model {

struct Hook {
  std::string path;
  std::vector<std::string> args, env;  // args[0] is the program's own name
  int64_t timeout_seconds = 0;         // 0: none
};

// By stage, in the order of running.
using Hooks = std::map<std::string, std::vector<Hook>>;

inline constexpr std::array<std::string_view, 6> kHookStages = {
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"};
inline bool IsHookStage(std::string_view stage) {
  return std::find(kHookStages.begin(), kHookStages.end(), stage) != kHookStages.end();
}

struct DeviceEdit {
  std::string container_path;
  std::string host_path;             // empty: container_path
  char type = 0;                     // 'b', 'c', 'u' or 'p'; 0: what the host's node is
  int64_t major = 0, minor = 0;      // 0: the host's node's
  std::optional<uint32_t> mode;      // permission bits; absent: the host's node's
  std::optional<uint32_t> uid, gid;  // absent: the container's user and group
  std::string access;                // of "rwm"; empty: the container may not use it
};

struct MountEdit {
  std::string host_path, container_path;
  std::string type;  // empty: a bind mount
  std::vector<std::string> options;
};

struct IntelRdt {
  std::string clos_id, l3_cache_schema, mem_bw_schema;
  bool enable_cmt = false, enable_mbm = false;
};

// 0: not set.
struct BlockIoDevice {
  int64_t major = 0, minor = 0;
  int64_t weight = 0;
  int64_t read_bps = 0, write_bps = 0, read_iops = 0, write_iops = 0;
  bool operator==(const BlockIoDevice&) const = default;
};

struct BlockIo {
  int64_t weight = 0;  // of devices without one; 0: not set
  std::vector<BlockIoDevice> devices;
};

struct ContainerEdits {
  std::vector<std::string> env;  // "K=V"
  std::vector<DeviceEdit> devices;
  std::vector<MountEdit> mounts;
  Hooks hooks;
  std::vector<uint32_t> additional_gids;
  std::optional<IntelRdt> intel_rdt;
  std::optional<BlockIo> block_io;
};

}  // namespace berth::model
