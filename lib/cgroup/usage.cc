#include "lib/cgroup/usage.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/status/statusor.h"
namespace berth::cgroup {

namespace {

// memory.stat has some 60 lines; a file that is longer than this is not read to its end.
constexpr size_t kMaxFile = 16 << 10;
constexpr uint64_t kNanosPerMicro = 1000;
// With systemd on v2, crun puts a container into a cgroup below its scope and the limits there.
constexpr std::string_view kCrunSubgroup = "container/";
// v1 has no word for "unlimited": the largest whole number of pages, whatever a page is.
constexpr uint64_t kV1Unlimited = std::numeric_limits<int64_t>::max() - (64 << 10);

// One file at a time; what Read returned is valid until the next Read.
class ControlFile {
 public:
  // File `name` of the cgroup in the tree whose top is `tree`. Control files give all they have in
  // one read(2). "": absent, or not readable now.
  std::string_view Read(const base::UniqueFd& tree, const std::string& cgroup,
                        std::string_view name) {
    path_.assign(cgroup, 1);
    if (!path_.empty()) {
      path_.push_back('/');
    }
    path_.append(name);
    const base::UniqueFd fd(::openat(tree.get(), path_.c_str(), O_RDONLY | O_CLOEXEC));
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

// What memory.stat tells. The limits are v1's: the tightest of the cgroup and those above it.
struct MemoryStat {
  std::optional<uint64_t> rss, inactive_file, page_faults, major_page_faults, swap;
  std::optional<uint64_t> tightest_limit, tightest_memsw_limit;
};

struct StatKey {
  std::string_view name;
  std::optional<uint64_t> MemoryStat::*field;
};
constexpr StatKey kV1Keys[] = {{"total_rss", &MemoryStat::rss},
                               {"total_inactive_file", &MemoryStat::inactive_file},
                               {"total_pgfault", &MemoryStat::page_faults},
                               {"total_pgmajfault", &MemoryStat::major_page_faults},
                               {"total_swap", &MemoryStat::swap},
                               {"hierarchical_memory_limit", &MemoryStat::tightest_limit},
                               {"hierarchical_memsw_limit", &MemoryStat::tightest_memsw_limit}};
constexpr StatKey kV2Keys[] = {{"anon", &MemoryStat::rss},
                               {"inactive_file", &MemoryStat::inactive_file},
                               {"pgfault", &MemoryStat::page_faults},
                               {"pgmajfault", &MemoryStat::major_page_faults}};

template <size_t kCount>
MemoryStat ParseMemoryStat(std::string_view text, const StatKey (&keys)[kCount]) {
  MemoryStat stat;
  ForEachPair(text, [&](std::string_view key, std::string_view value) {
    for (const StatKey& wanted : keys) {
      if (key == wanted.name) {
        stat.*wanted.field = Number(value);
      }
    }
  });
  return stat;
}

void SetMemory(const MemoryStat& stat, Usage& usage) {
  usage.rss_bytes = stat.rss;
  usage.inactive_file_bytes = stat.inactive_file;
  usage.page_faults = stat.page_faults;
  usage.major_page_faults = stat.major_page_faults;
}

std::optional<uint64_t> V1Limit(std::optional<uint64_t> limit) {
  return limit >= kV1Unlimited ? std::nullopt : limit;
}

base::UniqueFd OpenTop(const Hierarchy& hierarchy, const char* controller) {
  const absl::StatusOr<std::string> dir = hierarchy.Dir("/", controller);
  return base::UniqueFd(dir.ok() ? ::open(dir->c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC) : -1);
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

UsageReader::UsageReader(const Hierarchy& hierarchy)
    : version_(hierarchy.version()),
      cpu_(OpenTop(hierarchy, "cpuacct")),
      memory_(OpenTop(hierarchy, "memory")),
      pids_(OpenTop(hierarchy, "pids")) {}

Usage UsageReader::Read(const std::string& cgroup) const {
  return version_ == Version::kV2 ? ReadV2(cgroup) : ReadV1(cgroup);
}

Usage UsageReader::ReadV1(const std::string& cgroup) const {
  ControlFile file;
  Usage usage;
  usage.cpu_ns = Number(file.Read(cpu_, cgroup, "cpuacct.usage"));
  usage.memory_bytes = Number(file.Read(memory_, cgroup, "memory.usage_in_bytes"));
  if (!usage.memory_bytes) {
    return usage;
  }
  const MemoryStat stat = ParseMemoryStat(file.Read(memory_, cgroup, "memory.stat"), kV1Keys);
  SetMemory(stat, usage);
  // Without a limit here or above there is none here.
  if (V1Limit(stat.tightest_limit)) {
    usage.memory_limit_bytes = V1Limit(Number(file.Read(memory_, cgroup, "memory.limit_in_bytes")));
  }
  // Where swap is not accounted for, memory.stat has no limit of both; total_swap is 0 then. It is
  // memory.memsw.usage_in_bytes less memory.usage_in_bytes, without being of two moments.
  if (stat.tightest_memsw_limit) {
    usage.swap_bytes = stat.swap;
    if (const auto both = V1Limit(stat.tightest_memsw_limit); both && usage.memory_limit_bytes) {
      usage.swap_limit_bytes = *both - std::min(*both, *usage.memory_limit_bytes);
    }
  }
  return usage;
}

Usage UsageReader::ReadV2(const std::string& cgroup) const {
  ControlFile file;
  Usage usage;
  ForEachPair(
      file.Read(cpu_, cgroup, "cpu.stat"), [&](std::string_view key, std::string_view value) {
        const std::optional<uint64_t> number = key == "usage_usec" ? Number(value) : std::nullopt;
        if (number && *number <= std::numeric_limits<uint64_t>::max() / kNanosPerMicro) {
          usage.cpu_ns = *number * kNanosPerMicro;
        }
      });
  usage.memory_bytes = Number(file.Read(memory_, cgroup, "memory.current"));
  if (usage.memory_bytes) {
    SetMemory(ParseMemoryStat(file.Read(memory_, cgroup, "memory.stat"), kV2Keys), usage);
    const auto limit = [&](const std::string& name) {
      // "max" is no number.
      const std::optional<uint64_t> own = Number(file.Read(memory_, cgroup, name));
      return own ? own : Number(file.Read(memory_, cgroup, std::string(kCrunSubgroup) + name));
    };
    usage.memory_limit_bytes = limit("memory.max");
    usage.swap_bytes = Number(file.Read(memory_, cgroup, "memory.swap.current"));
    if (usage.swap_bytes) {
      usage.swap_limit_bytes = limit("memory.swap.max");
    }
  }
  usage.cpu_pressure = ParsePressure(file.Read(cpu_, cgroup, "cpu.pressure"));
  usage.memory_pressure = ParsePressure(file.Read(memory_, cgroup, "memory.pressure"));
  usage.io_pressure = ParsePressure(file.Read(memory_, cgroup, "io.pressure"));
  return usage;
}

std::optional<uint64_t> UsageReader::Tasks(const std::string& cgroup) const {
  ControlFile file;
  return Number(file.Read(pids_, cgroup, "pids.current"));
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
