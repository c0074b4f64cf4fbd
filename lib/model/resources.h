// What an update of resources means: 0 or empty is no change.
// Threads: pure. Source: CRI v1 UpdateContainerResources.
#pragma once

#include "lib/model/security.h"

namespace berth::model {

// `current` with what `wanted` sets. Huge pages are merged by page size, `unified` by file. Swap
// that is as large as the memory limit means that there is none, and follows it.
Resources MergeResources(const Resources& current, const Resources& wanted);

}  // namespace berth::model
