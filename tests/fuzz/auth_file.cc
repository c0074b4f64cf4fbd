// auth.json and the CRI's AuthConfig. Lines: host, repository; then the file.
#include "lib/registry/auth_file.h"

#include "tests/fuzz/fuzz_target.h"

namespace berth::registry {

FUZZ_TARGET(auth_file) {
  fuzz::Input parts(input);
  const std::string host = parts.Line();
  const std::string repository = parts.Line();
  const std::string_view file = parts.Rest();
  (void)FindAuthIn(file, host, repository);
  const auto basic = DecodeBasicAuth(file);
  if (basic.ok()) {
    BERTH_CHECK(basic->username.find(':') == std::string::npos);
    BERTH_CHECK((basic->username + basic->password).find('\0') == std::string::npos);
  }
}

}  // namespace berth::registry
