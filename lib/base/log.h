// The daemon's log: spdlog to stderr, synchronous, one logger per library, named by its folder.
// A message is a fixed phrase, then key=value, ids first: `sandbox ready sandbox=3f2a
// ns=kube-system ms=182`. Levels: error: an operator must act; warn: we carry on and say so; info:
// one line per state change and mutating RPC; debug: steps; trace: payloads. Never logged:
// environments, credentials, exec input, annotation values. Threads: all of it is thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "spdlog/logger.h"

namespace berth::base {

// The logger of one library; made on first use.
spdlog::logger& Log(std::string_view name);

// Level: trace, debug, info, warn, error, off. Format: text or json. Applies to all loggers, also
// later ones. kInvalidArgument for another word.
absl::Status ConfigureLog(std::string_view level, std::string_view format);

}  // namespace berth::base
