#include "lib/registry/blob_part.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/printable.h"

namespace berth::registry {

namespace {

absl::Status Error(absl::StatusCode code, std::string_view message) {
  return base::MakeStatus(code, message);
}

// "bytes 100-199/200" -> 100
std::optional<int64_t> RangeStart(const std::string& content_range) {
  constexpr std::string_view kUnit = "bytes ";
  if (content_range.rfind(kUnit, 0) != 0) {
    return std::nullopt;
  }
  int64_t start = 0;
  const char* first = content_range.data() + kUnit.size();
  const char* last = content_range.data() + content_range.size();
  const auto [end, error] = std::from_chars(first, last, start);
  return error == std::errc() && end != last && *end == '-' && start >= 0
             ? std::optional<int64_t>(start)
             : std::nullopt;
}

}  // namespace

absl::Status BlobPart::Begin(const HttpResponse& head) {
  has_begun_ = true;
  const bool is_range = head.status == 206;
  if (on_answer_) {
    on_answer_(is_range);
  }
  if (!is_range) {
    if (needs_ranges_) {
      is_over_ = is_refused_ = true;
      return Error(absl::StatusCode::kUnavailable, "the server does not send parts of blobs");
    }
    if (begin_ == 0 && offset_ == 0) {
      end_ = size_;
    }
    skip_ = offset_;  // the whole blob, whatever range was asked for
    return absl::OkStatus();
  }
  const std::string range = head.Header("content-range").value_or("");
  const auto start = RangeStart(range);
  if (!start || *start > offset_) {
    is_wrong_range_ = true;
    return Error(
        absl::StatusCode::kUnavailable,
        fmt::format("asked for the blob from byte {}, the answer has range '{}' (HTTP 206)",
                    offset_, oci::Printable(range, 60)));
  }
  skip_ = offset_ - *start;
  return absl::OkStatus();
}

absl::Status BlobPart::Deliver(std::span<const char> piece) {
  const auto left = static_cast<size_t>(end_ - offset_);
  const bool is_too_much = piece.size() > left;
  if (is_too_much && end_ == size_) {
    is_over_ = true;
    return Error(absl::StatusCode::kDataLoss,
                 fmt::format("the content has more than the {} bytes its descriptor says", size_));
  }
  piece = piece.first(std::min(piece.size(), left));
  absl::Status status = sink_(piece);
  offset_ += static_cast<int64_t>(piece.size());
  is_over_ = !status.ok();
  // The part is complete, the answer is not: what follows is not wanted.
  return status.ok() && is_too_much ? Error(absl::StatusCode::kAborted, "enough") : status;
}

Attempt BlobPart::Run(EndpointRequest request, const Send& send) {
  if (end_ < size_) {
    request.headers.emplace_back("Range", fmt::format("bytes={}-{}", offset_, end_ - 1));
  } else if (offset_ > 0) {
    request.headers.emplace_back("Range", fmt::format("bytes={}-", offset_));
  }
  has_begun_ = is_wrong_range_ = false;
  Attempt attempt =
      send(request, [&](const HttpResponse& head, std::span<const char> piece) -> absl::Status {
        if (!has_begun_) {
          RETURN_IF_ERROR(Begin(head));
        }
        const int64_t skipped = std::min<int64_t>(skip_, static_cast<int64_t>(piece.size()));
        skip_ -= skipped;
        piece = piece.subspan(static_cast<size_t>(skipped));
        return piece.empty() ? absl::OkStatus() : Deliver(piece);
      });
  if (is_wrong_range_) {
    attempt.by_sink = false;
  } else if (!is_over_ && offset_ == end_ && (attempt.status.ok() || offset_ > begin_)) {
    // All of it came, whatever became of the connection then.
    is_over_ = true;
    attempt.status = absl::OkStatus();
  } else if (attempt.status.ok() && !is_over_) {
    attempt.status =
        Error(absl::StatusCode::kDataLoss,
              fmt::format("the content has {} bytes, but its descriptor says {} (HTTP {})", offset_,
                          size_, attempt.response.status));
    // Without a length the end of the connection is the end of the content, also where it broke.
    attempt.may_pass = !attempt.response.Header("content-length");
  }
  return attempt;
}

bool BlobPart::TakeProgress() {
  const bool progressed = offset_ > reported_;
  reported_ = offset_;
  return progressed;
}

}  // namespace berth::registry
