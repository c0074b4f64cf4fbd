#include <sys/utsname.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/image.h"
#include "lib/oci/printable.h"

namespace berth::oci {

namespace {

std::string HostVariant() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return "v4";
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma")) {
    return "v3";
  }
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt") ? "v2" : "v1";
#elif defined(__aarch64__)
  return "v8";
#elif defined(__arm__)
  struct utsname name;  // "armv6l", "armv7l", "armv8l"
  if (uname(&name) == 0 && std::string_view(name.machine).substr(0, 4) == "armv") {
    const char digit = name.machine[4];
    return digit >= '8' ? "v7" : std::string("v") + digit;
  }
  return "v7";
#else
  return "";
#endif
}

std::string HostArchitecture() {
#if defined(__x86_64__)
  return "amd64";
#elif defined(__aarch64__)
  return "arm64";
#elif defined(__arm__)
  return "arm";
#elif defined(__i386__)
  return "386";
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return "ppc64le";
#elif defined(__s390x__)
  return "s390x";
#elif defined(__riscv) && __riscv_xlen == 64
  return "riscv64";
#elif defined(__loongarch64)
  return "loong64";
#elif defined(__mips64) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return "mips64le";
#else
#error "an architecture berth has no OCI name for"
#endif
}

// Other words for the same architecture, as image builders write them.
std::string Normalized(const std::string& architecture) {
  if (architecture == "x86_64" || architecture == "x86-64") {
    return "amd64";
  }
  if (architecture == "aarch64") {
    return "arm64";
  }
  if (architecture == "armhf" || architecture == "armel") {
    return "arm";
  }
  return architecture;
}

// "v7" -> 7. Without a variant: what the architecture means then. 0: not a variant we know.
int Level(const std::string& architecture, const std::string& variant) {
  if (variant.empty()) {
    return architecture == "arm64" ? 8 : architecture == "arm" ? 7 : 1;
  }
  if (variant.size() == 2 && variant[0] == 'v' && variant[1] >= '1' && variant[1] <= '9') {
    return variant[1] - '0';
  }
  return architecture == "arm64" && variant == "8" ? 8 : 0;
}

// How well an entry suits: higher is better, 0 is not at all.
int Score(const std::optional<Platform>& entry, const Platform& wanted) {
  if (!entry) {
    return 1;
  }
  const std::string architecture = Normalized(entry->architecture);
  if (entry->os != wanted.os || architecture != wanted.architecture) {
    return 0;
  }
  const int level = Level(architecture, entry->variant);
  if (level == 0) {
    return entry->variant == wanted.variant ? 100 : 0;
  }
  return level <= Level(wanted.architecture, wanted.variant) ? 10 + level : 0;
}

}  // namespace

std::string Platform::ToString() const {
  return variant.empty() ? fmt::format("{}/{}", os, architecture)
                         : fmt::format("{}/{}/{}", os, architecture, variant);
}

const Platform& ThisPlatform() {
  static const Platform platform{"linux", HostArchitecture(), HostVariant(), ""};
  return platform;
}

absl::StatusOr<Descriptor> SelectPlatform(const ImageIndex& index, const Platform& platform) {
  const Descriptor* best = nullptr;
  int best_score = 0;
  std::string available;
  for (const Descriptor& entry : index.manifests) {
    if (!IsManifestType(entry.media_type) && !IsIndexType(entry.media_type)) {
      continue;
    }
    const int score = Score(entry.platform, platform);
    if (score > best_score) {
      best = &entry;
      best_score = score;
    }
    if (entry.platform && available.size() < 300) {
      available += (available.empty() ? "" : ", ") + Printable(entry.platform->ToString(), 60);
    }
  }
  if (best == nullptr) {
    return base::MakeStatus(
        absl::StatusCode::kNotFound,
        fmt::format("the image index has nothing for {}; it has {}", platform.ToString(),
                    available.empty() ? "no platforms" : available));
  }
  return *best;
}

}  // namespace berth::oci
