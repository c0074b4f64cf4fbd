// Ids: 64 lower-case hexadecimal digits from the kernel's random source. StrongId keeps sandboxes'
// and containers' apart.
#pragma once

#include <compare>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace berth::base {

// A new random id of 64 hex digits.
std::string GenerateId();
// True for exactly 64 lower-case hex digits.
bool IsFullId(std::string_view text);

template <typename Tag>
class StrongId {
 public:
  StrongId() = default;
  explicit StrongId(std::string value) : value_(std::move(value)) {}
  static StrongId Generate() { return StrongId(GenerateId()); }

  const std::string& value() const { return value_; }
  bool empty() const { return value_.empty(); }
  // What logs show.
  std::string Short() const { return value_.substr(0, 12); }
  auto operator<=>(const StrongId&) const = default;

  template <typename H>
  friend H AbslHashValue(H h, const StrongId& id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  std::string value_;
};

}  // namespace berth::base

template <typename Tag>
struct std::hash<berth::base::StrongId<Tag>> {
  size_t operator()(const berth::base::StrongId<Tag>& id) const {
    return std::hash<std::string>()(id.value());
  }
};
