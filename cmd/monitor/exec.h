// `berth-monitor exec`: see the role comment in exec.cc.
#pragma once

#include "cmd/monitor/options.h"

namespace berth::monitor {

int RunExec(const Options& options);

}  // namespace berth::monitor
