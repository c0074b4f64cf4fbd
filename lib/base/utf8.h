// UTF-8: whether bytes are well-formed text (RFC 3629: no surrogates, no overlong forms, at most
// U+10FFFF). Threads: pure functions.
#pragma once

#include <cstddef>
#include <string_view>

namespace berth::base {

// Bytes of the well-formed sequence that text, which is not empty, begins with; 0: with none.
size_t Utf8SequenceLength(std::string_view text);
// The place of the first byte that is in no well-formed sequence; npos: there is none.
size_t FindNotUtf8(std::string_view text);
// "" is.
inline bool IsUtf8(std::string_view text) { return FindNotUtf8(text) == std::string_view::npos; }

}  // namespace berth::base
