// WWW-Authenticate headers.
#include "lib/registry/challenge.h"

#include "tests/fuzz/fuzz_target.h"

namespace berth::registry {

FUZZ_TARGET(challenge) {
  const std::vector<Challenge> challenges = ParseChallenges(input);
  BERTH_CHECK(challenges.size() <= 16);
  for (const Challenge& challenge : challenges) {
    BERTH_CHECK(!challenge.scheme.empty());
    BERTH_CHECK(challenge.params.size() <= 16);
    (void)challenge.Param("realm");
  }
}

}  // namespace berth::registry
