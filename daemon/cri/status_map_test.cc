#include "daemon/cri/status_map.h"

#include "gtest/gtest.h"

#include "lib/base/status.h"

namespace berth::cri {
namespace {

TEST(StatusMapTest, KeepsTheNumberOfEveryCode) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpc(absl::Status(static_cast<absl::StatusCode>(code), "text"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "text");
  }
}

TEST(StatusMapTest, NamedErrorsLeaveAsUnknownWithTheirNameFirst) {
  const absl::Status down = base::Annotate(
      base::WithReason(absl::UnavailableError("connection refused"), "RegistryUnavailable"),
      "pull image 'x'");
  EXPECT_EQ(ToGrpc(down).error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(ToGrpc(down).error_message(),
            "RegistryUnavailable: pull image 'x': connection refused");
  const absl::Status bad =
      base::WithReason(absl::PermissionDeniedError("no"), "SignatureValidationFailed");
  EXPECT_EQ(ToGrpc(bad).error_message(), "SignatureValidationFailed: no");
}

TEST(StatusMapTest, OtherReasonsStayInside) {
  const grpc::Status status = ToGrpc(base::WithReason(absl::AbortedError("x"), "SomethingOfOurs"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "x");
}

TEST(StatusMapTest, ACommandThatDoesNotExistIsNoMissingContainer) {
  const absl::Status missing =
      base::WithReason(absl::NotFoundError("no such program"), "CommandNotFound");
  EXPECT_EQ(ToGrpc(missing).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(StatusMapTest, MessagesAreUtf8) {
  EXPECT_EQ(ToGrpc(absl::InternalError("a\xffz")).error_message(), "a?z");
}

}  // namespace
}  // namespace berth::cri
