// Status: how every fallible function of berth says what went wrong.
//
//   absl::Status Remove(...) {
//     ASSIGN_OR_RETURN(UniqueFd fd, OpenBeneath(root, path));
//     RETURN_IF_ERROR(Annotate(Unlink(fd), fmt::format("remove layer '{}'", digest)));
//     return absl::OkStatus();
//   }
//
// Messages are lower case, without a final period, outermost context first: `<verb object 'id'>:
// <cause>`. Codes say what the caller should do (absl/status/status.h); errno becomes a code only
// at the system call.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace berth::base {

// A status for a failed system call: "what: strerror (errno)". The code follows errno (ENOENT:
// kNotFound, EEXIST: kAlreadyExists, ENOSPC/EDQUOT/EMFILE/ENOMEM: kResourceExhausted, EACCES/EPERM:
// kPermissionDenied, ...).
absl::Status ErrnoStatus(int error, std::string_view what);

// Prefixes the message of an error with "context: ", keeping code and payloads. OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

// Attaches / reads a reason word that the CRI wants in front of the message (`RegistryUnavailable`,
// `SignatureValidationFailed`, ...; Kubernetes cri-api pkg/errors). daemon/cri/status_map.cc
// renders it.
absl::Status WithReason(absl::Status status, std::string_view reason);
std::optional<std::string> GetReason(const absl::Status& status);

// An absl message constructor that takes std::string_view, which Debian's Abseil does not.
absl::Status MakeStatus(absl::StatusCode code, std::string_view message);

}  // namespace berth::base

// __COUNTER__ and not __LINE__: inside another macro's arguments every line has the same number.
#define BERTH_CONCAT_INNER_(a, b) a##b
#define BERTH_CONCAT_(a, b) BERTH_CONCAT_INNER_(a, b)
#define RETURN_IF_ERROR(...) \
  RETURN_IF_ERROR_IMPL_(BERTH_CONCAT_(berth_status_, __COUNTER__), (__VA_ARGS__))
#define RETURN_IF_ERROR_IMPL_(status, expr) \
  do {                                      \
    if (auto status = expr; !status.ok()) { \
      return status;                        \
    }                                       \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, ...) \
  ASSIGN_OR_RETURN_IMPL_(BERTH_CONCAT_(berth_or_, __COUNTER__), lhs, (__VA_ARGS__))
#define ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = expr;                             \
  if (!tmp.ok()) {                             \
    return tmp.status();                       \
  }                                            \
  lhs = *std::move(tmp)

// For broken invariants only: says where and aborts.
#define BERTH_CHECK(condition)                                    \
  do {                                                            \
    if (!(condition)) {                                           \
      ::berth::base::CheckFailed(#condition, __FILE__, __LINE__); \
    }                                                             \
  } while (false)

namespace berth::base {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}  // namespace berth::base
