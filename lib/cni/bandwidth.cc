#include "lib/cni/bandwidth.h"

#include <cstddef>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::cni {

namespace {

constexpr int64_t kMinRate = 1'000;                  // 1 kbit/s
constexpr int64_t kMaxRate = 1'000'000'000'000'000;  // 1 Pbit/s
// The token bucket's size is not given by an annotation: the largest that the `bandwidth` plugin's
// kernel interface (32 bits) holds.
constexpr uint64_t kBurst = UINT32_MAX;

// A number as digits * 10^-scale * factor; all of it in integers, since a quantity is exact.
struct Decimal {
  unsigned __int128 digits = 0;
  int scale = 0;
};

using U128 = unsigned __int128;
// Far above the largest value, and ten times it still fits.
constexpr U128 kTooLarge = static_cast<U128>(1) << 124;

// Takes "12.5" off the front. False: no digits, or too many.
bool TakeDecimal(std::string_view& text, Decimal& decimal) {
  bool point = false;
  int digits = 0;
  while (!text.empty()) {
    const char c = text.front();
    if (c == '.' && !point) {
      point = true;
    } else if (c >= '0' && c <= '9') {
      if (++digits > 24) {
        return false;
      }
      decimal.digits = decimal.digits * 10 + static_cast<unsigned>(c - '0');
      decimal.scale += point ? 1 : 0;
    } else {
      break;
    }
    text.remove_prefix(1);
  }
  return digits > 0;
}

// The power of 2 or of 10 that a suffix stands for.
struct Factor {
  int two = 0;
  int ten = 0;
};

// Exponent form: "e3", "E-2". At most two digits.
std::optional<Factor> ParseExponent(std::string_view suffix) {
  suffix.remove_prefix(1);
  const bool negative = suffix.front() == '-';
  if (suffix.front() == '-' || suffix.front() == '+') {
    suffix.remove_prefix(1);
  }
  if (suffix.empty() || suffix.size() > 2) {
    return std::nullopt;
  }
  int value = 0;
  for (char c : suffix) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    value = value * 10 + (c - '0');
  }
  return Factor{0, negative ? -value : value};
}

std::optional<Factor> ParseSuffix(std::string_view suffix) {
  if (suffix.empty()) {
    return Factor{};
  }
  constexpr std::string_view kBinary = "KMGTPE";
  if (suffix.size() == 2 && suffix[1] == 'i' && kBinary.find(suffix[0]) != std::string_view::npos) {
    return Factor{10 * (static_cast<int>(kBinary.find(suffix[0])) + 1), 0};
  }
  if ((suffix[0] == 'e' || suffix[0] == 'E') && suffix.size() > 1) {
    return ParseExponent(suffix);
  }
  constexpr std::string_view kDecimal = "numkMGTPE";
  constexpr int kPowers[] = {-9, -6, -3, 3, 6, 9, 12, 15, 18};
  if (suffix.size() == 1 && kDecimal.find(suffix[0]) != std::string_view::npos) {
    return Factor{0, kPowers[kDecimal.find(suffix[0])]};
  }
  return std::nullopt;
}

// digits * 2^two * 10^ten, rounded up; nothing when above 2^63-1.
std::optional<int64_t> Evaluate(U128 digits, int two, int ten) {
  if (digits == 0) {
    return 0;
  }
  for (; two > 0; --two) {
    digits *= 2;
    if (digits > kTooLarge) {
      return std::nullopt;
    }
  }
  bool rest = false;
  for (; ten < 0; ++ten) {
    rest = rest || digits % 10 != 0;
    digits /= 10;
  }
  for (; ten > 0; --ten) {
    digits *= 10;
    if (digits > kTooLarge) {
      return std::nullopt;
    }
  }
  digits += rest ? 1 : 0;
  if (digits > static_cast<U128>(INT64_MAX)) {
    return std::nullopt;
  }
  return static_cast<int64_t>(digits);
}

absl::StatusOr<uint64_t> RateOf(const std::map<std::string, std::string>& annotations,
                                const std::string& key) {
  const auto at = annotations.find(key);
  if (at == annotations.end()) {
    return uint64_t{0};
  }
  absl::StatusOr<int64_t> rate = ParseQuantity(at->second);
  if (!rate.ok()) {
    return base::Annotate(rate.status(), fmt::format("annotation {}", key));
  }
  if (*rate < kMinRate || *rate > kMaxRate) {
    return absl::InvalidArgumentError(fmt::format("annotation {}: must be 1k to 1P bit/s", key));
  }
  return static_cast<uint64_t>(*rate);
}

}  // namespace

absl::StatusOr<int64_t> ParseQuantity(std::string_view text) {
  constexpr size_t kMaxText = 64;
  std::string_view rest = text;
  const bool negative = !rest.empty() && rest.front() == '-';
  if (!rest.empty() && (rest.front() == '-' || rest.front() == '+')) {
    rest.remove_prefix(1);
  }
  Decimal decimal;
  if (text.size() > kMaxText || !TakeDecimal(rest, decimal)) {
    return absl::InvalidArgumentError("not a quantity (such as 10M or 1.5Gi)");
  }
  const std::optional<Factor> factor = ParseSuffix(rest);
  if (!factor.has_value()) {
    return absl::InvalidArgumentError("not a quantity (such as 10M or 1.5Gi)");
  }
  if (negative && decimal.digits != 0) {
    return absl::InvalidArgumentError("a negative quantity");
  }
  const std::optional<int64_t> value =
      Evaluate(decimal.digits, factor->two, factor->ten - decimal.scale);
  if (!value.has_value()) {
    return absl::InvalidArgumentError("a quantity above 2^63-1");
  }
  return *value;
}

absl::StatusOr<std::optional<Bandwidth>> BandwidthFromAnnotations(
    const std::map<std::string, std::string>& annotations) {
  Bandwidth bandwidth;
  ASSIGN_OR_RETURN(bandwidth.ingress_rate, RateOf(annotations, "kubernetes.io/ingress-bandwidth"));
  ASSIGN_OR_RETURN(bandwidth.egress_rate, RateOf(annotations, "kubernetes.io/egress-bandwidth"));
  bandwidth.ingress_burst = bandwidth.ingress_rate == 0 ? 0 : kBurst;
  bandwidth.egress_burst = bandwidth.egress_rate == 0 ? 0 : kBurst;
  if (bandwidth == Bandwidth()) {
    return std::optional<Bandwidth>();
  }
  return std::optional<Bandwidth>(bandwidth);
}

}  // namespace berth::cni
