// Stream: which of a container's outputs.
#pragma once

#include <stdint.h>

namespace berth::monitor {

enum class Stream : uint8_t { kStdout, kStderr };

}  // namespace berth::monitor
