#include "lib/registry/blob_transfer.h"

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

absl::StatusOr<int64_t> BlobTransfer::BytesToSkip(const HttpResponse& head) const {
  if (head.status != 206) {
    return offset_;  // the whole blob, whatever range was asked for
  }
  const std::string range = head.Header("content-range").value_or("");
  const auto start = RangeStart(range);
  if (!start || *start > offset_) {
    return Error(
        absl::StatusCode::kUnavailable,
        fmt::format("asked for the blob from byte {}, the answer has range '{}' (HTTP 206)",
                    offset_, oci::Printable(range, 60)));
  }
  return offset_ - *start;
}

absl::Status BlobTransfer::Deliver(std::span<const char> piece) {
  if (static_cast<int64_t>(piece.size()) > descriptor_.size - offset_) {
    is_over_ = true;
    return Error(absl::StatusCode::kDataLoss,
                 fmt::format("the content has more than the {} bytes its descriptor says",
                             descriptor_.size));
  }
  hasher_.Update(piece);
  absl::Status status = sink_(piece);
  offset_ += static_cast<int64_t>(piece.size());
  is_over_ = !status.ok();
  return status;
}

void BlobTransfer::Conclude(Attempt& attempt) {
  if (offset_ < descriptor_.size) {
    attempt.status =
        Error(absl::StatusCode::kDataLoss,
              fmt::format("the content has {} bytes, but its descriptor says {} (HTTP {})", offset_,
                          descriptor_.size, attempt.response.status));
    // Without a length the end of the connection is the end of the content, also where it broke.
    attempt.may_pass = !attempt.response.Header("content-length");
    return;
  }
  is_over_ = true;
  const oci::Digest actual = hasher_.Finish();
  if (actual != descriptor_.digest) {
    attempt.status = Error(absl::StatusCode::kDataLoss,
                           fmt::format("the content has digest '{}'", actual.ToString()));
  }
}

Attempt BlobTransfer::Run(EndpointRequest request, const Send& send) {
  if (offset_ > 0) {
    request.headers.emplace_back("Range", fmt::format("bytes={}-", offset_));
  }
  std::optional<int64_t> skip;
  bool wrong_range = false;
  Attempt attempt =
      send(request, [&](const HttpResponse& head, std::span<const char> piece) -> absl::Status {
        if (!skip) {
          auto computed = BytesToSkip(head);
          if (!computed.ok()) {
            wrong_range = true;
            return computed.status();
          }
          skip = *computed;
        }
        const int64_t skipped = std::min<int64_t>(*skip, static_cast<int64_t>(piece.size()));
        *skip -= skipped;
        piece = piece.subspan(static_cast<size_t>(skipped));
        return piece.empty() ? absl::OkStatus() : Deliver(piece);
      });
  if (wrong_range) {
    attempt.by_sink = false;
    return attempt;
  }
  if (attempt.status.ok()) {
    Conclude(attempt);
  } else if (!is_over_ && offset_ == descriptor_.size && offset_ > 0) {
    // Everything came, and then the connection broke.
    attempt.status = absl::OkStatus();
    Conclude(attempt);
  }
  return attempt;
}

bool BlobTransfer::TakeProgress() {
  const bool progressed = offset_ > reported_;
  reported_ = offset_;
  return progressed;
}

}  // namespace berth::registry
