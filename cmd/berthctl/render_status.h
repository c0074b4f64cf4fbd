// What `berthctl status` prints. Pure functions.
#pragma once

#include <string>

#include "berth/v1/admin.pb.h"

namespace berth::berthctl {

// For people; ends with a newline.
std::string StatusText(const v1::NodeStatusResponse& status);
// One JSON object with the names of admin.proto, numbers as numbers; ends with a newline.
std::string StatusJson(const v1::NodeStatusResponse& status);

// "17 B", "1.5 KiB", "12.0 GiB".
std::string HumanBytes(uint64_t bytes);
// "45s", "3h12m", "12d4h": the two largest units.
std::string HumanDuration(int64_t nanoseconds);

}  // namespace berth::berthctl
