// CDI files, and names of devices. First byte: JSON or YAML.
#include "lib/cdi/cdi_file.h"
#include "lib/cdi/device_name.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::cdi {

FUZZ_TARGET(cdi) {
  fuzz::Input parts(input);
  const CdiFormat format = parts.Bool() ? CdiFormat::kYaml : CdiFormat::kJson;
  const std::string_view text = parts.Rest();
  const auto names = RequestedDevices({}, {{"cdi.k8s.io/x", std::string(text)}});
  if (names.ok()) {
    for (const std::string& name : *names) {
      BERTH_CHECK(CheckDeviceName(name).ok());
    }
  }
  const absl::StatusOr<CdiFile> file = ParseCdiFile(text, format);
  if (!file.ok()) {
    return;
  }
  BERTH_CHECK(CheckKind(file->kind).ok());
  BERTH_CHECK(!file->devices.empty());
  for (const auto& [name, edits] : file->devices) {
    BERTH_CHECK(CheckDeviceName(file->kind + "=" + name).ok());
  }
}

}  // namespace berth::cdi
