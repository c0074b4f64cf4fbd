// Plugins that an earlier berthd started and that outlived it: a plugin is not stopped half-way by
// the daemon's death, and undoing what it does while it does it would leave half of it.
//
// Known by their environment: CNI_CONTAINERID, which a plugin's own children inherit. Threads: any.
// Source: CNI spec 1.1, section 2 (parameters); man 5 proc, /proc/PID/environ.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "lib/base/op_context.h"

namespace berth::cni {

// Waits until no plugin works for the pod, no longer than ctx: then its error. Costs a look at
// every process of the machine. `proc` is /proc, or a test's.
absl::Status AwaitOrphans(const base::OpContext& ctx, const std::string& pod_id,
                          const std::string& proc = "/proc");

}  // namespace berth::cni
