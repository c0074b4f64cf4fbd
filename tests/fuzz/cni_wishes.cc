// A pod's wishes for its network, as they reach plugins: names, ports, bandwidth. Lines.
#include "nlohmann/json.hpp"

#include "lib/cni/bandwidth.h"
#include "lib/cni/capabilities.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::cni {

FUZZ_TARGET(cni_wishes) {
  fuzz::Input parts(input);
  const std::string quantity = parts.Line();
  const absl::StatusOr<int64_t> number = ParseQuantity(quantity);
  BERTH_CHECK(!number.ok() || *number >= 0);
  PodNetwork pod;
  const auto bandwidth =
      BandwidthFromAnnotations({{"kubernetes.io/ingress-bandwidth", quantity},
                                {"kubernetes.io/egress-bandwidth", parts.Line()}});
  if (bandwidth.ok()) {
    pod.bandwidth = *bandwidth;
  }
  pod.id = parts.Line();
  pod.name = parts.Line();
  pod.namespace_name = parts.Line();
  pod.uid = parts.Line();
  pod.interface_name = parts.Line();
  if (ValidateIdentity(pod).ok()) {
    // Nothing of a name becomes a parameter of its own.
    const std::string args = CniArgs(pod);
    BERTH_CHECK(std::count(args.begin(), args.end(), '=') ==
                std::count(args.begin(), args.end(), ';') + 1);
    BERTH_CHECK(std::count(args.begin(), args.end(), ';') <= 5);
  }
  PortMapping port;
  port.protocol = parts.Line();
  port.container_port = static_cast<int32_t>(parts.Number(4));
  port.host_port = static_cast<int32_t>(parts.Number(4));
  port.host_ip = parts.Line();
  pod.port_mappings = {port};
  pod.ips = {parts.Line()};
  pod.dns = DnsConfig{{parts.Line()}, {parts.Line()}, {}};
  pod.annotations = {{parts.Line(), std::string(parts.Rest())}};
  const absl::StatusOr<std::string> args = CapabilityArgs(pod);
  BERTH_CHECK(!args.ok() || nlohmann::json::accept(*args));
}

}  // namespace berth::cni
