#include "lib/base/id.h"

#include <sys/random.h>

#include "lib/base/status.h"

namespace berth::base {

std::string GenerateId() {
  unsigned char bytes[32];
  BERTH_CHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
  constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  id.reserve(64);
  for (unsigned char byte : bytes) {
    id += kHex[byte >> 4];
    id += kHex[byte & 15];
  }
  return id;
}

bool IsFullId(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace berth::base
