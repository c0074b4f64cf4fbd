// Challenge: what a WWW-Authenticate header asks for (RFC 9110 section 11.6.1; the Bearer form as
// in the distribution project's token authentication specification).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace berth::registry {

struct Challenge {
  std::string scheme;                         // lower case: "basic", "bearer"
  std::map<std::string, std::string> params;  // names in lower case: realm, service, scope, error

  // "" when absent.
  std::string Param(const std::string& name) const;
};

// One header may hold several challenges. What cannot be read is left out; at most 16 challenges of
// 16 parameters are kept.
std::vector<Challenge> ParseChallenges(std::string_view header);

}  // namespace berth::registry
