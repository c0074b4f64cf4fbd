#include <cstdio>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/runtime/oci_runtime.h"

namespace berth::runtime {
namespace {

constexpr size_t kMaxMessage = 2048;

// Parts of what runc and crun say. The first that is found decides, so the more special ones come
// first.
struct Pattern {
  const char* first;
  const char* second;  // must follow somewhere after the first; empty: nothing
  absl::StatusCode code;
  bool no_command;
};

constexpr Pattern kPatterns[] = {
    {"executable file", "not found", absl::StatusCode::kNotFound, true},
    // runc, for a path: `exec: "/x": stat /x: no such file or directory`
    {"exec: \"", "no such file or directory", absl::StatusCode::kNotFound, true},
    {"container does not exist", "", absl::StatusCode::kNotFound, false},
    // crun, of its state directory
    {"/status`: No such file or directory", "", absl::StatusCode::kNotFound, false},
    {"cannot open directory '", "No such file or directory", absl::StatusCode::kNotFound, false},
    {"not running", "", absl::StatusCode::kFailedPrecondition, false},
    {"has stopped", "", absl::StatusCode::kFailedPrecondition, false},
    {"stopped container", "", absl::StatusCode::kFailedPrecondition, false},
    {"already running", "", absl::StatusCode::kFailedPrecondition, false},
    {"exec.fifo`: No such file or directory", "", absl::StatusCode::kFailedPrecondition, false},
    {"paused container", "", absl::StatusCode::kFailedPrecondition, false},
    {"process already finished", "", absl::StatusCode::kFailedPrecondition, false},
    // runc, of a start that met a kill
    {"container process is already dead", "", absl::StatusCode::kFailedPrecondition, false},
    {"No such process", "", absl::StatusCode::kFailedPrecondition, false},
    // A container that ends while it is entered
    {"error executing setns process", "", absl::StatusCode::kFailedPrecondition, false},
    {"No space left on device", "", absl::StatusCode::kResourceExhausted, false},
    {"no space left on device", "", absl::StatusCode::kResourceExhausted, false},
};

bool Matches(const Pattern& pattern, std::string_view text) {
  const size_t at = text.find(pattern.first);
  return at != std::string_view::npos && text.find(pattern.second, at) != std::string_view::npos;
}

}  // namespace

std::string CleanMessage(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  if (text.size() > kMaxMessage) {
    text.remove_prefix(text.size() - kMaxMessage);
    // Not from the middle of a UTF-8 character.
    while (!text.empty() && (static_cast<unsigned char>(text.front()) & 0xc0) == 0x80) {
      text.remove_prefix(1);
    }
  }
  std::string clean;
  clean.reserve(text.size());
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      clean += "; ";
    } else if (c == '\t') {
      clean += ' ';
    } else if (byte < 0x20 || byte == 0x7f) {
      clean += fmt::format("\\x{:02x}", byte);
    } else {
      clean += c;
    }
  }
  return clean;
}

absl::Status RuntimeError(std::string_view runtime, std::string_view verb, const std::string& id,
                          std::string_view text, int exit_code) {
  std::string cause = CleanMessage(text);
  if (cause.empty()) {
    cause = exit_code > 128 ? fmt::format("it was ended by signal {}", exit_code - 128)
                            : fmt::format("it exited with code {} and said nothing", exit_code);
  }
  const std::string message = fmt::format("{} {} container '{}': {}", runtime, verb, id, cause);
  for (const Pattern& pattern : kPatterns) {
    if (Matches(pattern, cause)) {
      absl::Status status = base::MakeStatus(pattern.code, message);
      return pattern.no_command ? base::WithReason(status, OciRuntime::kReasonNoCommand) : status;
    }
  }
  return base::MakeStatus(absl::StatusCode::kInternal, message);
}

}  // namespace berth::runtime
