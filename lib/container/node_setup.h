// NodeSetup: what containers get besides what their request says: this machine's facts and the
// configuration's defaults. Made once by the composition root; SeccompPolicy and HookDirs lock
// themselves, the rest is constant.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/hooks/hook_dirs.h"
#include "lib/qos/blockio.h"
#include "lib/security/apparmor.h"
#include "lib/security/capabilities.h"
#include "lib/security/seccomp.h"
#include "lib/security/selinux.h"
#include "lib/spec/node_facts.h"
#include "lib/spec/process.h"

namespace berth::container {

// Per runtime handler, from [runtimes.NAME].
struct HandlerPolicy {
  std::vector<std::string> allowed_annotations;
  bool privileged_without_host_devices = false;
  bool exec_on_first_cpu = false;  // of the container's cpuset
};

struct NodeSetup {
  spec::NodeFacts facts;
  security::CapabilitySet default_capabilities = security::DefaultCapabilities();
  security::CapabilitySet bounding_capabilities = security::kAllCapabilities;
  std::unique_ptr<security::SeccompPolicy> seccomp;  // never null
  security::Apparmor apparmor;
  const security::Selinux* selinux;  // never null
  std::vector<std::string> default_env;
  std::vector<spec::Ulimit> default_ulimits;
  std::map<std::string, HandlerPolicy> handlers;  // by handler name; absent: the defaults
  std::vector<std::string> daemon_dirs;           // root and state
  std::vector<std::string> cdi_spec_dirs;         // later ones win
  std::unique_ptr<hooks::HookDirs> hooks;         // never null
  std::optional<qos::BlockioClasses> blockio;     // absent: none are configured
  bool rdt = false;                               // whether classes are resctrl groups
  bool log_to_journald = false;                   // output goes to the journal, too
  int64_t log_max_bytes = 0;                      // of a log file; 0: no limit

  HandlerPolicy PolicyOf(const std::string& handler) const {
    const auto found = handlers.find(handler);
    return found == handlers.end() ? HandlerPolicy() : found->second;
  }
};

}  // namespace berth::container
