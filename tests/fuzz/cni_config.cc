// CNI network configurations, and attachments as the database has them.
#include "lib/cni/attachment.h"
#include "lib/cni/network_config.h"
#include "lib/cni/network_configs.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::cni {

FUZZ_TARGET(cni_config) {
  const absl::StatusOr<NetworkConfig> network = ParseNetworkConfig(input);
  if (network.ok()) {
    BERTH_CHECK(network->bytes == input);
    BERTH_CHECK(!network->plugins.empty() && network->plugins.size() <= 32);
    (void)HasStatus(*network);
    (void)HasGc(*network);
    BERTH_CHECK(CompareVersions(network->cni_version, network->cni_version) == 0);
    for (const PluginConfig& plugin : network->plugins) {
      const auto found = FindPlugin({"/nowhere"}, plugin.type);
      BERTH_CHECK(!found.ok());
    }
    // DEL reads it again from the record.
    BERTH_CHECK(ParseNetworkConfig(network->bytes).ok());
  }
  const absl::StatusOr<Attachment> attachment = Attachment::FromJson(input);
  if (attachment.ok()) {
    const absl::StatusOr<Attachment> again = Attachment::FromJson(attachment->ToJson());
    BERTH_CHECK(again.ok());
    BERTH_CHECK(again->ToJson() == attachment->ToJson());
  }
}

}  // namespace berth::cni
