// Annotations of config.json: the pod's and the container's own, as far as no runtime acts upon
// them, and ours. Private to lib/spec.
//
// OCI runtimes, hooks and VM runtimes read orders from annotations: runc and crun set any property
// of the systemd unit from org.systemd.property.* (CVE-2024-3154: ExecStart as root), crun loads
// handlers by run.oci.*, kata takes paths of programs. Those come through only when the handler's
// configuration says so. Keys that the daemon itself sets never do.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/spec/container_spec.h"

namespace berth::spec {

// Adds a warning for every annotation held back, and for those that ask for blockio and RDT
// classes where none are configured. CDI annotations of the container itself are not passed on: the
// daemon has obeyed them.
std::map<std::string, std::string> BuildAnnotations(const SpecInputs& inputs,
                                                    std::vector<std::string>& warnings);

}  // namespace berth::spec
