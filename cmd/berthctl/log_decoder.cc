#include "cmd/berthctl/log_decoder.h"

#include <fmt/format.h>

#include "absl/time/time.h"

#include "lib/base/status.h"

namespace berth::berthctl {
namespace {

// Cuts the text up to the next space off `rest`; the whole of it when there is none.
std::string_view TakeWord(std::string_view& rest) {
  const size_t space = rest.find(' ');
  const std::string_view word = rest.substr(0, space);
  rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
  return word;
}

absl::Status NotALogLine(std::string_view line, const char* why) {
  return base::MakeStatus(absl::StatusCode::kDataLoss,
                          fmt::format("log line '{}': {}", line.substr(0, 80), why));
}

}  // namespace

absl::StatusOr<LogLine> ParseLogLine(std::string_view line) {
  std::string_view rest = line;
  const std::string time(TakeWord(rest));
  absl::Time parsed;
  if (!absl::ParseTime(absl::RFC3339_full, time, &parsed, nullptr)) {
    return NotALogLine(line, "does not begin with a time");
  }
  LogLine result;
  const std::string_view stream = TakeWord(rest);
  if (stream == "stderr") {
    result.stream = Stream::kStderr;
  } else if (stream != "stdout") {
    return NotALogLine(line, "names neither stdout nor stderr");
  }
  const std::string_view tags = TakeWord(rest);
  const std::string_view tag = tags.substr(0, tags.find(':'));
  if (tag != "P" && tag != "F") {
    return NotALogLine(line, "has neither tag P nor F");
  }
  result.is_partial = tag == "P";
  result.text = rest;
  return result;
}

absl::Status LogDecoder::Feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    if (end == std::string_view::npos) {
      pending_ += bytes;
      if (pending_.size() > kMaxLineBytes) {
        return NotALogLine(pending_, "is longer than 1 MiB");
      }
      return absl::OkStatus();
    }
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    if (pending_.empty()) {
      RETURN_IF_ERROR(Emit(line));
      continue;
    }
    pending_ += line;
    const std::string whole = std::move(pending_);
    pending_.clear();
    RETURN_IF_ERROR(Emit(whole));
  }
  return absl::OkStatus();
}

absl::Status LogDecoder::Emit(std::string_view line) {
  ASSIGN_OR_RETURN(const LogLine parsed, ParseLogLine(line));
  RETURN_IF_ERROR(sink_(parsed.stream, parsed.text));
  return parsed.is_partial ? absl::OkStatus() : sink_(parsed.stream, "\n");
}

}  // namespace berth::berthctl
