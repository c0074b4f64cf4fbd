#include "tests/fuzz/fuzz_target.h"

namespace berth::fuzz {

namespace {
Target* first = nullptr;
}  // namespace

Target::Target(const char* target_name, void (*target_run)(std::string_view))
    : name(target_name), run(target_run), next(first) {
  first = this;
}

Target* FirstTarget() { return first; }

}  // namespace berth::fuzz
