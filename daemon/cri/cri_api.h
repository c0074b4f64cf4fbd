// The generated messages of the CRI by a short name: api::PodSandboxConfig. Their own namespace
// `runtime` would be taken for berth::runtime inside berth.
#pragma once

#include "runtime/v1/api.pb.h"

namespace berth::cri {
namespace api = ::runtime::v1;
}
