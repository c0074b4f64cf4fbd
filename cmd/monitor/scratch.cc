#include "cmd/monitor/scratch.h"

namespace berth::monitor {

// On pages of its own: beside others it would touch one more.
alignas(4096) char scratch[kScratchBytes];

}  // namespace berth::monitor
