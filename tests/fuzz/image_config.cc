// Image configurations.
#include "lib/oci/image.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::oci {

FUZZ_TARGET(image_config) {
  const absl::StatusOr<ImageConfig> config = ParseImageConfig(input);
  if (!config.ok()) {
    return;
  }
  BERTH_CHECK(config->diff_ids.size() <= kMaxLayers);
  for (const auto* texts : {&config->env, &config->entrypoint, &config->cmd, &config->volumes}) {
    for (const std::string& text : *texts) {
      BERTH_CHECK(text.find('\0') == std::string::npos);
    }
  }
  BERTH_CHECK((config->user + config->working_dir + config->stop_signal).find('\0') ==
              std::string::npos);
  (void)config->platform.ToString();
}

}  // namespace berth::oci
