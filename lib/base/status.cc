#include "lib/base/status.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/cord.h"
#include "fmt/format.h"

namespace berth::base {

namespace {
constexpr char kReasonUrl[] = "berth/reason";

absl::StatusCode CodeOfErrno(int error) {
  switch (error) {
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
      return absl::StatusCode::kResourceExhausted;
    case ETIMEDOUT:
      return absl::StatusCode::kDeadlineExceeded;
    case EROFS:
      return absl::StatusCode::kFailedPrecondition;
    default:
      return absl::ErrnoToStatus(error, "").code();
  }
}
}  // namespace

absl::Status MakeStatus(absl::StatusCode code, std::string_view message) {
  return absl::Status(code, absl::string_view(message.data(), message.size()));
}

absl::Status ErrnoStatus(int error, std::string_view what) {
  char buffer[128];
  const char* text = strerror_r(error, buffer, sizeof(buffer));
  return MakeStatus(CodeOfErrno(error), fmt::format("{}: {} ({})", what, text, error));
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) {
    return status;
  }
  const absl::string_view old = status.message();
  absl::Status result = MakeStatus(
      status.code(), fmt::format("{}: {}", context, std::string_view(old.data(), old.size())));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& value) { result.SetPayload(url, value); });
  return result;
}

absl::Status WithReason(absl::Status status, std::string_view reason) {
  if (!status.ok()) {
    status.SetPayload(kReasonUrl, absl::Cord(absl::string_view(reason.data(), reason.size())));
  }
  return status;
}

std::optional<std::string> GetReason(const absl::Status& status) {
  auto payload = status.GetPayload(kReasonUrl);
  if (!payload) {
    return std::nullopt;
  }
  return std::string(*payload);
}

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "berth: broken invariant: %s at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace berth::base
