// registries.conf. First line: the image that is looked for with it.
#include "lib/registry/registries_conf.h"

#include "tests/fuzz/fuzz_target.h"

namespace berth::registry {

FUZZ_TARGET(registries_conf) {
  fuzz::Input parts(input);
  const auto reference = oci::Reference::Parse(parts.Line());
  const auto conf = RegistriesConf::Parse(std::string(parts.Rest()), "fuzz.conf");
  if (!conf.ok() || !reference.ok()) {
    return;
  }
  const auto candidates = conf->Candidates(*reference);
  if (!candidates.ok()) {
    return;
  }
  BERTH_CHECK(!candidates->empty());
  for (const oci::Reference& candidate : *candidates) {
    BERTH_CHECK(oci::Reference::Parse(candidate.ToString()).ok());
    const auto endpoints = conf->Endpoints(candidate);
    if (!endpoints.ok()) {
      continue;
    }
    BERTH_CHECK(!endpoints->empty());
    for (const Endpoint& endpoint : *endpoints) {
      // They become the host and the path of a URL.
      BERTH_CHECK(!endpoint.host.empty() && !endpoint.repository.empty());
      for (const char c : endpoint.host + endpoint.repository) {
        BERTH_CHECK(c > ' ' && c <= '~' && c != '?' && c != '#' && c != '%' && c != '@');
      }
      BERTH_CHECK(endpoint.host.find('/') == std::string::npos);
    }
  }
}

}  // namespace berth::registry
