// What the requests of Exec, Attach and PortForward ask for, checked for form.
// Threads: pure functions. Errors: kInvalidArgument, naming the field. Source: CRI v1 ExecRequest,
// AttachRequest, PortForwardRequest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_field.h"

#include "daemon/cri/fields.h"
#include "daemon/streaming/backend.h"

namespace berth::cri {

// ExecRequest and AttachRequest have the same fields for it. At least one stream; no stderr with a
// terminal, which has one output only.
template <typename Request>
absl::StatusOr<streaming::Streams> ParseStreams(const Request& request) {
  if (request.tty() && request.stderr()) {
    return FieldError("stderr", "is true with tty; a terminal has no separate error output");
  }
  if (!request.stdin() && !request.stdout() && !request.stderr()) {
    return FieldError("stdin, stdout, stderr", "are all false; at least one must be true");
  }
  return streaming::Streams{.in = request.stdin(),
                            .out = request.stdout(),
                            .err = request.stderr(),
                            .tty = request.tty()};
}

// 1 to 65535 each; there may be none.
inline absl::StatusOr<std::vector<uint16_t>> ParsePorts(
    const google::protobuf::RepeatedField<int32_t>& values) {
  std::vector<uint16_t> ports;
  for (const int32_t port : values) {
    if (port < 1 || port > 65535) {
      return FieldError("port", "is " + std::to_string(port) + "; 1 to 65535 are allowed");
    }
    ports.push_back(static_cast<uint16_t>(port));
  }
  return ports;
}

}  // namespace berth::cri
