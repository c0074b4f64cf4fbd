// The report of a check as a message. Threads: pure functions.
#pragma once

#include "berth/v1/admin.pb.h"
#include "lib/check/store_check.h"

namespace berth::cri {

::berth::v1::CheckResponse RenderCheck(const check::Report& report);

}  // namespace berth::cri
