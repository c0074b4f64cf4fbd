// App: one berthd from configuration to its last line in the log.
//
// Start: lock the root -> database -> images -> pods -> containers -> serve -> tell systemd. Stop,
// on SIGTERM or SIGINT: tell systemd -> no new requests, those running are cancelled -> event loop
// -> services. Containers, their monitors and pauses stay.
#pragma once

#include "absl/status/status.h"

#include "daemon/config/config.h"

namespace berth::app {

// Blocks, in every thread made from now on, the signals that Run waits for. Call before anything
// starts a thread.
void PrepareProcess();

// Serves until it is told to stop. Errors are those of starting: nothing is served then, and
// nothing was changed but what an unfinished earlier run had left half-made.
absl::Status Run(const config::Config& config);

}  // namespace berth::app
