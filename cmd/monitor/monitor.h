// The life of one monitor: create, serve, record the end. See main.cc.
#pragma once

#include "cmd/monitor/options.h"

namespace berth::monitor {

// Returns the program's exit code: 0 when the container was created, 1 when not.
int RunMonitor(const Options& options);

}  // namespace berth::monitor
