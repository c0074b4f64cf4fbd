// berthd.toml.
#include "daemon/config/config.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::config {

FUZZ_TARGET(config_toml) {
  Config config;
  if (!ReadToml(input, "fuzz.toml", config).ok()) {
    return;
  }
  Config again;
  const absl::Status status = ReadToml(ToToml(config), "again.toml", again);
  BERTH_CHECK(status.ok());
  BERTH_CHECK(again == config);
}

}  // namespace berth::config
