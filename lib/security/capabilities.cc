#include "lib/security/capabilities.h"

#include <array>
#include <charconv>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::security {
namespace {

// By number, as in <linux/capability.h>; ours goes on where older headers end.
constexpr std::array<std::string_view, kLastCapability + 1> kNames = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

constexpr CapabilitySet Bit(int number) { return CapabilitySet{1} << number; }

struct Asked {
  CapabilitySet set = 0;
  bool all = false;
};

absl::StatusOr<Asked> ParseAsked(const std::vector<std::string>& names) {
  Asked asked;
  for (const std::string& name : names) {
    if (const std::string upper = absl::AsciiStrToUpper(name);
        upper == "ALL" || upper == "CAP_ALL") {
      asked.all = true;
      continue;
    }
    const std::optional<int> number = ParseCapability(name);
    if (!number.has_value()) {
      return absl::InvalidArgumentError(fmt::format("'{}' is no capability", name));
    }
    asked.set |= Bit(*number);
  }
  return asked;
}

}  // namespace

std::string_view CapabilityName(int number) { return kNames.at(static_cast<size_t>(number)); }

std::optional<int> ParseCapability(std::string_view name) {
  const std::string upper = absl::AsciiStrToUpper(std::string(name));
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == upper || kNames[i].substr(4) == upper) {
      return static_cast<int>(i);
    }
  }
  return std::nullopt;
}

std::vector<std::string> CapabilityNames(CapabilitySet set) {
  std::vector<std::string> names;
  for (int number = 0; number <= kLastCapability; ++number) {
    if ((set & Bit(number)) != 0) {
      names.emplace_back(CapabilityName(number));
    }
  }
  return names;
}

absl::StatusOr<CapabilitySet> ParseCapabilities(const std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const Asked asked, ParseAsked(names));
  return asked.all ? kAllCapabilities : asked.set;
}

CapabilitySet DefaultCapabilities() {
  return Bit(0) | Bit(1) | Bit(3) | Bit(4) | Bit(5) | Bit(6) | Bit(7) | Bit(8) | Bit(10);
}

absl::StatusOr<CapabilitySet> ReadOwnBoundingSet(const std::string& proc_root) {
  const std::string path = proc_root + "/self/status";
  ASSIGN_OR_RETURN(const std::string text, base::ReadFile(path, 64 << 10));
  constexpr std::string_view kKey = "\nCapBnd:\t";
  const size_t at = text.find(kKey);
  CapabilitySet set = 0;
  if (at == std::string::npos ||
      std::from_chars(text.data() + at + kKey.size(), text.data() + text.size(), set, 16).ec !=
          std::errc()) {
    return absl::DataLossError(fmt::format("read '{}': no bounding set", path));
  }
  return set & kAllCapabilities;
}

absl::StatusOr<GrantedCapabilities> GrantCapabilities(const model::ContainerSecurity& security,
                                                      CapabilitySet defaults,
                                                      CapabilitySet bounding) {
  CapabilitySet wanted = kAllCapabilities;
  CapabilitySet ambient = kAllCapabilities;
  if (!security.privileged) {
    ASSIGN_OR_RETURN(const Asked add, ParseAsked(security.add_capabilities));
    ASSIGN_OR_RETURN(const Asked drop, ParseAsked(security.drop_capabilities));
    ASSIGN_OR_RETURN(const Asked more, ParseAsked(security.add_ambient_capabilities));
    // Single names win over the other list's ALL; named (or ALL) in both lists is dropped.
    wanted = drop.all ? 0 : add.all ? kAllCapabilities : defaults;
    ambient = (more.all ? kAllCapabilities : more.set) & ~drop.set;
    wanted = ((wanted | add.set) & ~drop.set) | ambient;
  }
  return GrantedCapabilities{
      .granted = wanted & bounding, .ambient = ambient & bounding, .clamped = wanted & ~bounding};
}

}  // namespace berth::security
