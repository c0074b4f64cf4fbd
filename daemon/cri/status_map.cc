#include "daemon/cri/status_map.h"

#include <algorithm>
#include <array>
#include <string>

#include "fmt/format.h"

#include "daemon/cri/text.h"
#include "lib/base/status.h"
#include "lib/runtime/oci_runtime.h"

namespace berth::cri {

namespace {

constexpr std::array<std::string_view, 4> kNamedErrors = {
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "ImageVolumeMountFailed",
    "RROUnsupported",
};

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  const std::string message =
      ToUtf8(std::string_view(status.message().data(), status.message().size()));
  const std::string reason = base::GetReason(status).value_or("");
  if (std::find(kNamedErrors.begin(), kNamedErrors.end(), reason) != kNamedErrors.end()) {
    return {grpc::StatusCode::UNKNOWN, fmt::format("{}: {}", reason, message)};
  }
  if (reason == runtime::OciRuntime::kReasonNoCommand) {
    return {grpc::StatusCode::INVALID_ARGUMENT, message};
  }
  return {static_cast<grpc::StatusCode>(status.raw_code()), message};
}

}  // namespace berth::cri
