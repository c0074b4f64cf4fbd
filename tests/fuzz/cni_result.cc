// What CNI plugins print. First line: the network's version.
#include "lib/cni/result.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::cni {

FUZZ_TARGET(cni_result) {
  fuzz::Input parts(input);
  const std::string version = parts.Line();
  const std::string_view text = parts.Rest();
  (void)ParsePluginError(text);
  const absl::StatusOr<Result> result = ParseResult(text, version);
  if (!result.ok()) {
    return;
  }
  for (const std::string& ip : result->PodIps()) {
    BERTH_CHECK(!ip.empty() && ip.find('/') == std::string::npos);
  }
  for (const char* form : {"0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    const std::string rendered = RenderResult(*result, form);
    const absl::StatusOr<Result> again = ParseResult(rendered, form);
    BERTH_CHECK(again.ok());
    if (form[0] == '1') {
      BERTH_CHECK(again->PodIps() == result->PodIps());
      BERTH_CHECK(again->interfaces.size() == result->interfaces.size());
    }
  }
}

}  // namespace berth::cni
