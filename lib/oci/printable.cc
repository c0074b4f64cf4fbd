#include "lib/oci/printable.h"

namespace berth::oci {

std::string Printable(std::string_view text, size_t max_bytes) {
  std::string shown;
  for (const char c : text.substr(0, max_bytes)) {
    shown += c >= 0x20 && c < 0x7f ? c : '?';
  }
  if (text.size() > max_bytes) {
    shown += "...";
  }
  return shown;
}

}  // namespace berth::oci
