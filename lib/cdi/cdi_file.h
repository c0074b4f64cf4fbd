// CdiFile: one CDI specification file, JSON or YAML.
//
// Strict, as the specification demands: an unknown field, or one that the file's cdiVersion does
// not have yet, makes the whole file unusable. So do netDevices, intelRdt.schemata and
// intelRdt.enableMonitoring, which OCI runtimes of runtime-spec 1.2 would silently leave out.
// Threads: pure. Source: CDI specification, versions 0.3.0 to 1.1.0.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "lib/model/edits.h"

namespace berth::cdi {

struct CdiFile {
  std::string kind;                                      // "vendor.com/class"
  model::ContainerEdits edits;                           // with any of the devices
  std::map<std::string, model::ContainerEdits> devices;  // by short name; at least one
};

enum class CdiFormat { kJson, kYaml };

// kInvalidArgument: what is wrong and where; kUnimplemented: see above; kOutOfRange: too large.
absl::StatusOr<CdiFile> ParseCdiFile(std::string_view text, CdiFormat format);

}  // namespace berth::cdi
