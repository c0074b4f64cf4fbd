#include "cmd/monitor/scratch.h"

namespace berth::monitor {

char scratch[kScratchBytes];

}  // namespace berth::monitor
