// Ids of pods and containers: 64 hex digits each, of types that cannot be mixed up.
#pragma once

#include "lib/base/id.h"

namespace berth::model {

struct SandboxTag {};
struct ContainerTag {};
using SandboxId = base::StrongId<SandboxTag>;
using ContainerId = base::StrongId<ContainerTag>;

}  // namespace berth::model
