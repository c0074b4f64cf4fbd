#include "lib/cgroup/usage.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/status/statusor.h"
#include "fmt/format.h"

#include "lib/base/unique_fd.h"

namespace berth::cgroup {

namespace {

// memory.stat has some 60 lines; a file that is longer than this is not read to its end.
constexpr size_t kMaxFile = 16 << 10;
constexpr uint64_t kNanosPerMicro = 1000;
// v1 has no word for "unlimited": the largest whole number of pages, whatever a page is.
constexpr uint64_t kV1Unlimited = std::numeric_limits<int64_t>::max() - (64 << 10);

// One file at a time; what Read returned is valid until the next Read.
class ControlFile {
 public:
  // Control files give all they have in one read(2). "": absent, or not readable now.
  std::string_view Read(const std::string& dir, std::string_view name) {
    if (dir.empty()) {
      return {};
    }
    path_.assign(dir);
    path_.push_back('/');
    path_.append(name);
    const base::UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
      return {};
    }
    const ssize_t n = ::read(fd.get(), buffer_, sizeof(buffer_));
    return n <= 0 ? std::string_view() : std::string_view(buffer_, static_cast<size_t>(n));
  }

 private:
  std::string path_;
  char buffer_[kMaxFile];
};

// The whole text is one number that fits; a newline may follow.
std::optional<uint64_t> Number(std::string_view text) {
  if (!text.empty() && text.back() == '\n') {
    text.remove_suffix(1);
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

// Calls back with (key, value) for each "key value" line.
template <typename Visit>
void ForEachPair(std::string_view text, const Visit& visit) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (const size_t space = line.find(' '); space != std::string_view::npos) {
      visit(line.substr(0, space), line.substr(space + 1));
    }
  }
}

// The names of what is needed in memory.stat.
struct StatKeys {
  std::string_view rss, inactive_file, page_faults, major_page_faults, swap;
};
constexpr StatKeys kV1Keys = {"total_rss", "total_inactive_file", "total_pgfault",
                              "total_pgmajfault", "total_swap"};
constexpr StatKeys kV2Keys = {"anon", "inactive_file", "pgfault", "pgmajfault", ""};

void ParseMemoryStat(std::string_view text, const StatKeys& keys, Usage& usage) {
  ForEachPair(text, [&](std::string_view key, std::string_view value) {
    if (key == keys.rss) {
      usage.rss_bytes = Number(value);
    } else if (key == keys.inactive_file) {
      usage.inactive_file_bytes = Number(value);
    } else if (key == keys.page_faults) {
      usage.page_faults = Number(value);
    } else if (key == keys.major_page_faults) {
      usage.major_page_faults = Number(value);
    } else if (key == keys.swap) {
      usage.swap_bytes = Number(value);
    }
  });
}

std::optional<uint64_t> V1Limit(std::string_view text) {
  const std::optional<uint64_t> limit = Number(text);
  return limit >= kV1Unlimited ? std::nullopt : limit;
}

std::string DirOr(const Hierarchy& hierarchy, const std::string& cgroup, const char* controller) {
  absl::StatusOr<std::string> dir = hierarchy.Dir(cgroup, controller);
  return dir.ok() ? *std::move(dir) : "";
}

Usage ReadV1(const Hierarchy& hierarchy, const std::string& cgroup) {
  ControlFile file;
  Usage usage;
  usage.cpu_ns = Number(file.Read(DirOr(hierarchy, cgroup, "cpuacct"), "cpuacct.usage"));
  const std::string memory = DirOr(hierarchy, cgroup, "memory");
  usage.memory_bytes = Number(file.Read(memory, "memory.usage_in_bytes"));
  if (!usage.memory_bytes) {
    return usage;
  }
  ParseMemoryStat(file.Read(memory, "memory.stat"), kV1Keys, usage);
  usage.memory_limit_bytes = V1Limit(file.Read(memory, "memory.limit_in_bytes"));
  // The limit of both together is never below memory's, so without that one there is none either.
  // total_swap is their usage less memory's, without being of two moments.
  if (usage.memory_limit_bytes) {
    const std::optional<uint64_t> both = V1Limit(file.Read(memory, "memory.memsw.limit_in_bytes"));
    if (both) {
      usage.swap_limit_bytes = *both - std::min(*both, *usage.memory_limit_bytes);
    }
  }
  return usage;
}

Usage ReadV2(const Hierarchy& hierarchy, const std::string& cgroup) {
  ControlFile file;
  Usage usage;
  const std::string dir = DirOr(hierarchy, cgroup, "");
  ForEachPair(file.Read(dir, "cpu.stat"), [&](std::string_view key, std::string_view value) {
    const std::optional<uint64_t> number = key == "usage_usec" ? Number(value) : std::nullopt;
    if (number && *number <= std::numeric_limits<uint64_t>::max() / kNanosPerMicro) {
      usage.cpu_ns = *number * kNanosPerMicro;
    }
  });
  usage.memory_bytes = Number(file.Read(dir, "memory.current"));
  if (usage.memory_bytes) {
    ParseMemoryStat(file.Read(dir, "memory.stat"), kV2Keys, usage);
    usage.memory_limit_bytes = Number(file.Read(dir, "memory.max"));  // "max" is no number
    usage.swap_bytes = Number(file.Read(dir, "memory.swap.current"));
    if (usage.swap_bytes) {
      usage.swap_limit_bytes = Number(file.Read(dir, "memory.swap.max"));
    }
  }
  usage.cpu_pressure = ParsePressure(file.Read(dir, "cpu.pressure"));
  usage.memory_pressure = ParsePressure(file.Read(dir, "memory.pressure"));
  usage.io_pressure = ParsePressure(file.Read(dir, "io.pressure"));
  return usage;
}

std::optional<uint64_t> Less(std::optional<uint64_t> whole, std::optional<uint64_t> part) {
  if (!whole || !part) {
    return std::nullopt;
  }
  return *whole - std::min(*whole, *part);
}

bool ParseAverage(std::string_view text, double& average) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), average);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(average);
}

// "avg10=0.00 avg60=0.00 avg300=0.00 total=0"
bool ParsePressureLine(std::string_view text, Pressure::Line& line) {
  bool has_total = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos) {
      return false;
    }
    const std::string_view key = word.substr(0, equals);
    const std::string_view value = word.substr(equals + 1);
    if (key == "total") {
      const std::optional<uint64_t> total = Number(value);
      has_total = total.has_value();
      line.total_us = total.value_or(0);
    } else if (!ParseAverage(value, key == "avg10"   ? line.avg10
                                    : key == "avg60" ? line.avg60
                                                     : line.avg300)) {
      return false;
    }
  }
  return has_total;
}

}  // namespace

std::optional<uint64_t> Usage::WorkingSetBytes() const {
  return Less(memory_bytes, inactive_file_bytes);
}

std::optional<uint64_t> Usage::AvailableBytes() const {
  return Less(memory_limit_bytes, WorkingSetBytes());
}

std::optional<uint64_t> Usage::SwapAvailableBytes() const {
  return Less(swap_limit_bytes, swap_bytes);
}

Usage ReadUsage(const Hierarchy& hierarchy, const std::string& cgroup) {
  return hierarchy.version() == Version::kV2 ? ReadV2(hierarchy, cgroup)
                                             : ReadV1(hierarchy, cgroup);
}

std::optional<uint64_t> ReadTasks(const Hierarchy& hierarchy, const std::string& cgroup) {
  ControlFile file;
  return Number(file.Read(DirOr(hierarchy, cgroup, "pids"), "pids.current"));
}

std::optional<Pressure> ParsePressure(std::string_view text) {
  Pressure pressure;
  bool has_some = false;
  bool is_sound = true;
  ForEachPair(text, [&](std::string_view key, std::string_view value) {
    if (key == "some") {
      has_some = ParsePressureLine(value, pressure.some);
    } else if (key == "full") {
      is_sound = ParsePressureLine(value, pressure.full) && is_sound;
    }
  });
  return has_some && is_sound ? std::optional(pressure) : std::nullopt;
}

}  // namespace berth::cgroup
