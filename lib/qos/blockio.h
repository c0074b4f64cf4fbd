// BlockioClasses: named limits and weights of disk use, from a file that the administrator writes.
//
//   Classes:
//     slow:
//       - Weight: 80                    # 10 to 1000: of every device without one of its own
//       - Devices: [/dev/sd*, /dev/vda] # patterns of glob(7); symlinks are followed
//         ThrottleReadBps: 50M          # bytes a second; k, M, G, T or Ki, Mi, Gi, Ti
//         ThrottleWriteBps: 10M
//         ThrottleReadIOPS: 10k         # operations a second
//         ThrottleWriteIOPS: 5k
//         Weight: 50
//
// Where several entries of a class match a device the last one counts, whole. Devices are looked
// for whenever a container asks for the class; what is no block device does not match.
//
// Threads: immutable. Source: the format of containerd's and CRI-O's blockio_config_file
// (goresctrl's blockio.md); OCI runtime-spec config-linux.md "Block IO".
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/edits.h"

namespace berth::qos {

struct DeviceNumbers {
  int64_t major = 0;
  int64_t minor = 0;
  auto operator<=>(const DeviceNumbers&) const = default;
};

// The block devices that a pattern matches.
using FindDevices = std::function<std::vector<DeviceNumbers>(const std::string& pattern)>;
std::vector<DeviceNumbers> FindBlockDevices(const std::string& pattern);

struct BlockioEntry {
  std::vector<std::string> devices;  // patterns; empty: every device, and only the weight is set
  model::BlockIoDevice limits;       // without numbers
};

class BlockioClasses {
 public:
  static constexpr size_t kMaxBytes = 1 << 20;

  // kNotFound: no such file; kInvalidArgument: what is wrong, and where; kOutOfRange: too large.
  static absl::StatusOr<BlockioClasses> Load(const std::string& path);
  static absl::StatusOr<BlockioClasses> Parse(std::string_view yaml);

  // kInvalidArgument: no such class; names those that there are. Logs patterns without a device.
  absl::StatusOr<model::BlockIo> Resolve(const std::string& name,
                                         const FindDevices& find = FindBlockDevices) const;

 private:
  std::map<std::string, std::vector<BlockioEntry>> classes_;
};

}  // namespace berth::qos
