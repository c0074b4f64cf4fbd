// Memory for what is done in one go and keeps nothing of it: one piece for the whole program, since
// every page that a monitor has written to counts once for each container.
#pragma once

#include <stddef.h>

namespace berth::monitor {

inline constexpr size_t kScratchBytes = 16 << 10;
extern char scratch[kScratchBytes];

}  // namespace berth::monitor
