// The file of blockio classes.
#include "lib/qos/blockio.h"

#include "tests/fuzz/fuzz_target.h"

namespace berth::qos {

FUZZ_TARGET(blockio) {
  const absl::StatusOr<BlockioClasses> classes = BlockioClasses::Parse(input);
  if (!classes.ok()) {
    return;
  }
  for (const char* name : {"slow", "fast", "a", ""}) {
    (void)classes->Resolve(name, [](const std::string& pattern) {
      return std::vector<DeviceNumbers>(pattern.size() % 3, DeviceNumbers{8, 16});
    });
  }
}

}  // namespace berth::qos
