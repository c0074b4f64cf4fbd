#include "lib/oci/digest.h"

#include <algorithm>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/printable.h"

namespace berth::oci {

namespace {

std::string_view AlgorithmName(DigestAlgorithm algorithm) {
  return algorithm == DigestAlgorithm::kSha256 ? "sha256" : "sha512";
}

bool IsLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

absl::StatusOr<Digest> Digest::FromHex(DigestAlgorithm algorithm, std::string_view hex) {
  const size_t want = algorithm == DigestAlgorithm::kSha256 ? 64 : 128;
  if (hex.size() != want || !IsLowerHex(hex)) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                            fmt::format("digest '{}' is not {} lower-case hex digits for {}",
                                        Printable(hex), want, AlgorithmName(algorithm)));
  }
  return Digest(algorithm, std::string(hex));
}

absl::StatusOr<Digest> Digest::Parse(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    return base::MakeStatus(
        absl::StatusCode::kInvalidArgument,
        fmt::format("digest '{}' is not of the form 'sha256:<hex>'", Printable(text)));
  }
  const std::string_view algorithm = text.substr(0, colon);
  if (algorithm == "sha256") {
    return FromHex(DigestAlgorithm::kSha256, text.substr(colon + 1));
  }
  if (algorithm == "sha512") {
    return FromHex(DigestAlgorithm::kSha512, text.substr(colon + 1));
  }
  return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                          fmt::format("digest '{}' is neither sha256 nor sha512", Printable(text)));
}

std::string Digest::ToString() const {
  return empty() ? std::string() : fmt::format("{}:{}", AlgorithmName(algorithm_), hex_);
}

}  // namespace berth::oci
