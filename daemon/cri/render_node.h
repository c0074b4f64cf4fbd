// The node as the CRI shows it: Status and RuntimeConfig. Threads: pure functions.
// Source: CRI v1 StatusResponse, RuntimeConfigResponse.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "daemon/cri/cri_api.h"
#include "lib/cgroup/cgroup_path.h"
#include "lib/runtime/runtime_handlers.h"

namespace berth::cri {

// RuntimeReady (berthd serves only with a usable default runtime, so it is true) and NetworkReady.
api::RuntimeStatus RenderConditions(const absl::Status& network);

// Every handler by name, and before them the default one as "".
void RenderHandlers(const runtime::RuntimeHandlers& handlers, bool node_has_user_namespaces,
                    api::StatusResponse& response);

// The same for people: a JSON array of what each one is, or why it cannot be used.
std::string HandlersJson(const runtime::RuntimeHandlers& handlers);

// What berth itself can do, whatever the runtime.
api::RuntimeFeatures RenderFeatures(bool node_has_user_namespaces);

api::CgroupDriver RenderDriver(cgroup::Driver driver);

}  // namespace berth::cri
