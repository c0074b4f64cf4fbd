// Settings that ask for something this version does not do, where doing without it deserves a
// warning. Threads: reads the disk, at start only.
#pragma once

#include <string>
#include <vector>

#include "daemon/config/config.h"

namespace berth::app {

// One sentence each. `sys` is /sys, or a test's.
std::vector<std::string> UnservedSettings(const config::Config& config,
                                          const std::string& sys = "/sys");

}  // namespace berth::app
