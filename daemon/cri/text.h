// Text as it crosses the edge: as UTF-8, as JSON strings.
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace berth::cri {

// The text with every byte that is not part of well-formed UTF-8 replaced by '?': messages of
// programs may hold any bytes, but a proto3 `string` may not.
std::string ToUtf8(std::string_view text);

// The text as a JSON string with its quotes (RFC 8259); bytes that are not UTF-8 become '?'.
std::string JsonString(std::string_view text);

// The text on one line, control characters as \xNN, cut after max_bytes: for log lines.
std::string OneLine(std::string_view text, size_t max_bytes = 1024);

}  // namespace berth::cri
