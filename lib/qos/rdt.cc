#include "lib/qos/rdt.h"

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/oci/printable.h"

namespace berth::qos {

absl::StatusOr<model::IntelRdt> RdtClass(const std::string& name, const std::string& sys_root) {
  const std::string resctrl = sys_root + "/fs/resctrl";
  if (!base::PathExists(resctrl + "/schemata")) {
    return absl::FailedPreconditionError(
        fmt::format("RDT class '{}' is asked for, and resctrl is not mounted on '{}'",
                    oci::Printable(name), resctrl));
  }
  // `info` and the like are resctrl's own folders, without a schemata file.
  if (name.empty() || name[0] == '.' || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos ||
      !base::PathExists(fmt::format("{}/{}/schemata", resctrl, name))) {
    return absl::InvalidArgumentError(fmt::format(
        "no RDT class '{}': '{}' has no group of that name", oci::Printable(name), resctrl));
  }
  model::IntelRdt rdt;
  rdt.clos_id = name;
  return rdt;
}

}  // namespace berth::qos
