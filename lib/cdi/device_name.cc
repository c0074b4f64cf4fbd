#include "lib/cdi/device_name.h"

#include <algorithm>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/printable.h"

namespace berth::cdi {
namespace {

constexpr size_t kMaxVendorBytes = 253;
constexpr size_t kMaxNameBytes = 63;

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsAlphanumeric(char c) { return IsLetter(c) || (c >= '0' && c <= '9'); }

// Letters, digits and `inner`, of which none is at either end.
bool IsName(std::string_view text, std::string_view inner, size_t max_bytes) {
  return !text.empty() && text.size() <= max_bytes && IsAlphanumeric(text.front()) &&
         IsAlphanumeric(text.back()) && std::all_of(text.begin(), text.end(), [&](char c) {
           return IsAlphanumeric(c) || inner.find(c) != std::string_view::npos;
         });
}

absl::Status Refuse(const char* what, std::string_view text, const char* wanted) {
  return absl::InvalidArgumentError(
      fmt::format("{} '{}' is not of the form {}", what, oci::Printable(text), wanted));
}

}  // namespace

absl::Status CheckKind(std::string_view kind) {
  const size_t slash = kind.find('/');
  if (slash == std::string_view::npos || !IsName(kind.substr(0, slash), "-_.", kMaxVendorBytes) ||
      !IsName(kind.substr(slash + 1), "-_.", kMaxNameBytes) || !IsLetter(kind.front()) ||
      !IsLetter(kind[slash + 1])) {
    return Refuse("CDI kind", kind, "'vendor.com/class'");
  }
  return absl::OkStatus();
}

absl::Status CheckShortName(std::string_view device) {
  return IsName(device, "-_.:", kMaxVendorBytes)
             ? absl::OkStatus()
             : Refuse("CDI device name", device, "letters, digits, '-', '_', '.' and ':'");
}

absl::Status CheckDeviceName(std::string_view name) {
  const size_t equals = name.find('=');
  if (equals == std::string_view::npos || !CheckKind(name.substr(0, equals)).ok() ||
      !CheckShortName(name.substr(equals + 1)).ok()) {
    return Refuse("CDI device", name, "'vendor.com/class=device'");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> RequestedDevices(
    const std::vector<std::string>& devices,
    const std::map<std::string, std::string>& annotations) {
  std::vector<std::string> requested;
  const auto add = [&](std::string_view name) -> absl::Status {
    RETURN_IF_ERROR(CheckDeviceName(name));
    if (std::find(requested.begin(), requested.end(), name) == requested.end()) {
      requested.emplace_back(name);
    }
    return absl::OkStatus();
  };
  for (const std::string& name : devices) {
    RETURN_IF_ERROR(add(name));
  }
  for (const auto& [key, value] : annotations) {
    if (key.rfind(kAnnotationPrefix, 0) != 0) {
      continue;
    }
    for (size_t at = 0; at <= value.size();) {
      const size_t comma = std::min(value.find(',', at), value.size());
      RETURN_IF_ERROR(base::Annotate(add(std::string_view(value).substr(at, comma - at)),
                                     fmt::format("annotation '{}'", key)));
      at = comma + 1;
    }
  }
  return requested;
}

}  // namespace berth::cdi
