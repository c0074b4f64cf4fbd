#include "lib/netns/interface_counters.h"

#include <fcntl.h>

#include <cerrno>
#include <charconv>
#include <optional>
#include <utility>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::netns {

namespace {

constexpr size_t kMaxStat = 8192;
constexpr size_t kMaxNetDev = 4 << 20;  // some 130 bytes for each interface
constexpr int kStartTimeField = 22;     // of /proc/PID/stat
constexpr std::string_view kBlank = " \t";

// Takes the next word off `text`; "" at its end.
std::string_view NextWord(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  const size_t end = std::min(text.find_first_of(kBlank), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

std::optional<uint64_t> NextNumber(std::string_view& text) {
  const std::string_view word = NextWord(text);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) {
    return std::nullopt;
  }
  return value;
}

// "eth0: RX bytes packets errs drop fifo frame compressed multicast TX bytes packets errs ..."
std::optional<InterfaceCounters> ParseLine(std::string_view line) {
  InterfaceCounters result;
  // The name may hold colons (an alias); what follows the last one is numbers.
  const size_t colon = line.rfind(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  std::string_view name = line.substr(0, colon);
  result.name = NextWord(name);
  std::string_view rest = line.substr(colon + 1);
  uint64_t numbers[11] = {};
  for (uint64_t& number : numbers) {
    const std::optional<uint64_t> value = NextNumber(rest);
    if (!value) {
      return std::nullopt;
    }
    number = *value;
  }
  result.rx_bytes = numbers[0];
  result.rx_errors = numbers[2];
  result.tx_bytes = numbers[8];
  result.tx_errors = numbers[10];
  return result.name.empty() ? std::nullopt : std::optional(std::move(result));
}

absl::StatusOr<std::string> ReadIn(int dir, const char* name, size_t max_bytes) {
  const base::UniqueFd fd(::openat(dir, name, O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return base::ErrnoStatus(errno, fmt::format("open '{}'", name));
  }
  absl::StatusOr<std::string> text = base::ReadFd(fd.get(), max_bytes);
  return text.ok() ? std::move(text) : base::Annotate(text.status(), name);
}

// Field 22 of a stat file; the name, field 2, may hold anything but ends at the last ')'.
std::optional<uint64_t> StartTime(std::string_view stat) {
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos) {
    return std::nullopt;
  }
  stat.remove_prefix(name_end + 1);
  for (int field = 3; field < kStartTimeField; ++field) {
    NextWord(stat);
  }
  return NextNumber(stat);
}

}  // namespace

absl::StatusOr<std::vector<InterfaceCounters>> ParseNetDev(std::string_view text) {
  std::vector<InterfaceCounters> result;
  for (int line_number = 1; !text.empty(); ++line_number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line_number <= 2) {
      continue;  // two lines of heading
    }
    std::optional<InterfaceCounters> counters = ParseLine(line);
    if (!counters) {
      return absl::DataLossError(fmt::format("line {} of 'net/dev' is not as proc(5) says: '{}'",
                                             line_number, line.substr(0, 80)));
    }
    if (counters->name != "lo") {
      result.push_back(*std::move(counters));
    }
  }
  return result;
}

absl::StatusOr<std::vector<InterfaceCounters>> ReadInterfaceCounters(pid_t pid, uint64_t start_time,
                                                                     const std::string& proc_root) {
  const std::string what = fmt::format("read the network counters of process {}", pid);
  // Files below this descriptor are of the process that had the pid when it was opened, or fail.
  absl::StatusOr<base::UniqueFd> dir =
      base::OpenFile(fmt::format("{}/{}", proc_root, pid), O_PATH | O_DIRECTORY);
  RETURN_IF_ERROR(base::Annotate(dir.status(), what));
  const absl::StatusOr<std::string> stat = ReadIn(dir->get(), "stat", kMaxStat);
  RETURN_IF_ERROR(base::Annotate(stat.status(), what));
  if (StartTime(*stat) != start_time) {
    return absl::NotFoundError(fmt::format("{}: another one has the pid by now", what));
  }
  const absl::StatusOr<std::string> text = ReadIn(dir->get(), "net/dev", kMaxNetDev);
  RETURN_IF_ERROR(base::Annotate(text.status(), what));
  absl::StatusOr<std::vector<InterfaceCounters>> counters = ParseNetDev(*text);
  return counters.ok() ? std::move(counters) : base::Annotate(counters.status(), what);
}

}  // namespace berth::netns
