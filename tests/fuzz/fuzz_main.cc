// libFuzzer's way into the one target of a program.
#include <cstddef>

#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::fuzz::FirstTarget()->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
