// The CRI's Signal enumeration has numbers of its own (SIGNAL_SIGTERM is 23); these are the
// kernel's for them. Threads: pure functions. Source: CRI v1 Signal; man 7 signal; real-time
// signals count from the kernel's 34, as in images.
#pragma once

#include "absl/status/statusor.h"

#include "daemon/cri/cri_api.h"

namespace berth::cri {

// 0 for SIGNAL_RUNTIME_DEFAULT. kInvalidArgument: not of the enumeration.
absl::StatusOr<int> ParseSignal(api::Signal signal);

// The first of the names of a number (SIGABRT, not SIGIOT). SIGNAL_RUNTIME_DEFAULT for a number
// that has none.
api::Signal RenderSignal(int kernel_number);

}  // namespace berth::cri
