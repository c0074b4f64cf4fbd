// Digest: the name of a piece of content, `sha256:<64 hex>` or `sha512:<128 hex>` (OCI image-spec
// v1.1 "Digests").
//
// A Digest that is not empty is well-formed: lower-case hex of the right length. So hex() may be
// part of a path or a URL, whatever registry or archive the text came from. Threads: a value.
#pragma once

#include <compare>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace berth::oci {

enum class DigestAlgorithm { kSha256, kSha512 };

class Digest {
 public:
  Digest() = default;

  // kInvalidArgument: not a digest, or of an algorithm other than the two.
  static absl::StatusOr<Digest> Parse(std::string_view text);
  // From bare lower-case hex of exactly the algorithm's length.
  static absl::StatusOr<Digest> FromHex(DigestAlgorithm algorithm, std::string_view hex);

  bool empty() const { return hex_.empty(); }
  DigestAlgorithm algorithm() const { return algorithm_; }
  const std::string& hex() const { return hex_; }
  // "sha256:<hex>"; "" when empty.
  std::string ToString() const;
  // The first 12 hex digits, for logs.
  std::string Short() const { return hex_.substr(0, 12); }

  auto operator<=>(const Digest&) const = default;

  template <typename H>
  friend H AbslHashValue(H h, const Digest& digest) {
    return H::combine(std::move(h), digest.algorithm_, digest.hex_);
  }

 private:
  Digest(DigestAlgorithm algorithm, std::string hex)
      : algorithm_(algorithm), hex_(std::move(hex)) {}

  DigestAlgorithm algorithm_ = DigestAlgorithm::kSha256;
  std::string hex_;
};

}  // namespace berth::oci

template <>
struct std::hash<berth::oci::Digest> {
  size_t operator()(const berth::oci::Digest& digest) const {
    return std::hash<std::string>()(digest.hex());
  }
};
