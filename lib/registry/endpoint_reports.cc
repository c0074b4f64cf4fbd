#include "lib/registry/endpoint_reports.h"

#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::registry {

std::string Role(const Endpoint& endpoint) {
  return fmt::format("{} '{}'", endpoint.is_mirror ? "mirror" : "registry", endpoint.host);
}

void EndpointReports::Add(const Endpoint& endpoint, const absl::Status& status) {
  text_ += fmt::format("{}{}: {}", text_.empty() ? "" : "; ", Role(endpoint),
                       std::string(status.message()));
  // A mirror may well lack an image.
  if (!endpoint.is_mirror || code_ == absl::StatusCode::kOk) {
    code_ = status.code();
  }
}

absl::Status EndpointReports::Fail(const std::string& what) const {
  absl::Status status = base::MakeStatus(code_, fmt::format("{}: {}", what, text_));
  return code_ == absl::StatusCode::kUnavailable
             ? base::WithReason(std::move(status), "RegistryUnavailable")
             : status;
}

}  // namespace berth::registry
