// Signals by the names that images (`STOPSIGNAL`), the CRI and people use. Numbers are this
// kernel's.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace berth::model {

// "SIGTERM", "TERM", "term", "15", "SIGRTMIN+3", "RTMAX-1". nullopt: not a signal.
std::optional<int> ParseSignal(std::string_view text);
// "SIGTERM"; real-time ones as SIGRTMIN+n up to SIGRTMIN+15, then SIGRTMAX-n. nullopt: not a
// signal.
std::optional<std::string> SignalName(int number);

}  // namespace berth::model
