// LogDecoder: turns a container's log file (CRI format) back into what the container wrote.
//
//   2026-11-22T20:04:05.123456789+00:00 stdout F a line that ended with a newline
//   2026-11-22T20:04:05.123456789+00:00 stderr P a piece that did not
//
// Source: CRI "container log format" as kubelet and crictl read it: time, stream, tags joined by
// ':' of which the first is P or F, text. Threads: one owner.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace berth::berthctl {

enum class Stream { kStdout, kStderr };

struct LogLine {
  Stream stream = Stream::kStdout;
  bool is_partial = false;  // no newline was written after the text
  std::string_view text;    // part of the line that was parsed

  bool operator==(const LogLine&) const = default;
};

// One line without its newline. kDataLoss: not in the format.
absl::StatusOr<LogLine> ParseLogLine(std::string_view line);

class LogDecoder {
 public:
  // Gets content as the container wrote it, newlines included. Its error ends Feed.
  using Sink = std::function<absl::Status(Stream, std::string_view)>;
  static constexpr size_t kMaxLineBytes = 1 << 20;

  explicit LogDecoder(Sink sink) : sink_(std::move(sink)) {}

  // The next bytes of the file; they may end anywhere. kDataLoss: a line is not in the format, or
  // longer than kMaxLineBytes.
  absl::Status Feed(std::string_view bytes);
  // True when the last line fed has not ended yet.
  bool has_pending() const { return !pending_.empty(); }

 private:
  absl::Status Emit(std::string_view line);

  Sink sink_;
  std::string pending_;
};

}  // namespace berth::berthctl
