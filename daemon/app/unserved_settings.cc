#include "daemon/app/unserved_settings.h"

#include <algorithm>
#include <array>

#include "fmt/format.h"

#include "lib/base/file.h"

namespace berth::app {

namespace {

constexpr size_t kMaxPolicyBytes = 1 << 20;
constexpr std::array kDemands = {"\"reject\"", "\"signedBy\"", "\"sigstoreSigned\""};

// Whether a signature policy (containers-policy.json(5)) has a rule besides
// "insecureAcceptAnything".
bool DemandsSignatures(const std::string& path) {
  const std::string policy = path.empty() ? "" : base::ReadFile(path, kMaxPolicyBytes).value_or("");
  return std::any_of(kDemands.begin(), kDemands.end(),
                     [&](const char* rule) { return policy.find(rule) != std::string::npos; });
}

}  // namespace

std::vector<std::string> UnservedSettings(const config::Config& config) {
  std::vector<std::string> settings;
  if (!config.metrics.listen.empty()) {
    settings.push_back("metrics.listen is set, but this version has no metrics to serve");
  }
  if (DemandsSignatures(config.image.policy)) {
    settings.push_back(
        fmt::format("the policy '{}' demands signatures or rejects images, but this version checks "
                    "no signatures: "
                    "images are pulled without",
                    config.image.policy));
  }
  return settings;
}

}  // namespace berth::app
