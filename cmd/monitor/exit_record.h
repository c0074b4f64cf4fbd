// The exit record: how the container ended, in a file that appears as a whole
// (monitor_protocol::ExitRecord).
#pragma once

#include "lib/monitor_protocol/protocol.h"

namespace berth::monitor {

// Writes it beside `path` and renames it there. No fsync: it is on a tmpfs. 0 or an errno.
int WriteExitRecord(const char* path, const monitor_protocol::ExitRecord& record);

}  // namespace berth::monitor
