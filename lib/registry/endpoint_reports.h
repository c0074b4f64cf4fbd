// EndpointReports: what each endpoint said, for the error when none could help. Threads: one owner.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "lib/registry/registries_conf.h"

namespace berth::registry {

// "registry 'quay.io'", "mirror 'm.example'"
std::string Role(const Endpoint& endpoint);

class EndpointReports {
 public:
  void Add(const Endpoint& endpoint, const absl::Status& status);
  // "what: registry 'a': ...; mirror 'b': ...". The image's own registry decides the code.
  absl::Status Fail(const std::string& what) const;

 private:
  absl::StatusCode code_ = absl::StatusCode::kOk;
  std::string text_;
};

}  // namespace berth::registry
