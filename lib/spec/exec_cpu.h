// `process.execCPUAffinity`: on which CPU commands run that are executed in a container. Part of
// lib/spec only. Source: OCI runtime-spec 1.2.1 config.md "process", which runtimes before
// crun 1.20 and runc 1.3 do not know; lib/runtime reads it as well and does what they do not.
#pragma once

#include "nlohmann/json_fwd.hpp"

#include "lib/model/security.h"

namespace berth::spec {

// Sets it to the smallest CPU of resources.cpuset_cpus; takes it away when that is empty or
// on_first_cpu is false.
void SetExecCpu(nlohmann::json& process, const model::Resources& resources, bool on_first_cpu);

}  // namespace berth::spec
