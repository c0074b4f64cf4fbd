// Printable: text from outside made fit for a message: printable ASCII on one line, cut at a
// length.
#pragma once

#include <string>
#include <string_view>

namespace berth::oci {

// Other bytes become '?'; where it was cut, "..." follows.
std::string Printable(std::string_view text, size_t max_bytes = 200);

}  // namespace berth::oci
