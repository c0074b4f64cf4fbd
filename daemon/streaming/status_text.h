// What a session says on the error stream when it has ended. Pure.
// Source: Kubernetes remotecommand protocols; metav1.Status.
#pragma once

#include <string>
#include <string_view>

namespace berth::streaming {

// How a command or an attached stream has ended.
struct Outcome {
  enum class Kind { kSuccess, kExitCode, kError };
  Kind kind = Kind::kSuccess;
  int exit_code = 0;  // kExitCode: not 0
  std::string error;  // kError

  static Outcome Exited(int code) {
    return {code == 0 ? Kind::kSuccess : Kind::kExitCode, code, {}};
  }
  static Outcome Failed(std::string error) { return {Kind::kError, 0, std::move(error)}; }
};

// Protocol v4 and later: a metav1.Status as JSON.
std::string StatusJson(const Outcome& outcome);
// Protocols before v4: a text for people; empty on success.
std::string StatusText(const Outcome& outcome);

}  // namespace berth::streaming
