// Seccomp profiles, and what an OCI runtime says of itself.
#include "lib/security/seccomp.h"

#include "nlohmann/json.hpp"

#include "lib/runtime/runtime_handlers.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::security {

FUZZ_TARGET(seccomp) {
  (void)runtime::ParseFeatures(input);
  const absl::StatusOr<SeccompProfile> profile = SeccompProfile::Parse(input);
  if (!profile.ok()) {
    return;
  }
  const std::string text = profile->Resolve({"amd64", 6, 1, 1});
  BERTH_CHECK(nlohmann::json::accept(text));
  // What was resolved is a profile that stays what it is.
  const absl::StatusOr<SeccompProfile> again = SeccompProfile::Parse(text);
  BERTH_CHECK(again.ok());
  BERTH_CHECK(again->Resolve({"amd64", 6, 1, 1}) == text);
}

}  // namespace berth::security
