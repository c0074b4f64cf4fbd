// Settings that ask for something this version does not do, where doing without it deserves a
// warning. Threads: reads the disk, at start only.
#pragma once

#include <string>
#include <vector>

#include "daemon/config/config.h"

namespace berth::app {

// One sentence each.
std::vector<std::string> UnservedSettings(const config::Config& config);

}  // namespace berth::app
