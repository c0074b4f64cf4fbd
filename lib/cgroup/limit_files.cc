#include "lib/cgroup/limit_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "absl/strings/str_split.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::cgroup {

namespace {

constexpr size_t kMaxFile = 1 << 20;
// A process may be born, with its parent's value, between the list of processes and the write.
constexpr int kOomRounds = 16;

std::optional<std::string> Read(const std::string& path) {
  absl::StatusOr<std::string> text = base::ReadFile(path, kMaxFile);
  if (!text.ok()) {
    return std::nullopt;
  }
  while (!text->empty() && text->back() == '\n') {
    text->pop_back();
  }
  return *std::move(text);
}

// Not atomic, no truncation: these files take one write.
absl::Status Write(const std::string& path, const std::string& value) {
  const std::string what = fmt::format("write '{}' to '{}'", value, path);
  const base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) {
    return base::ErrnoStatus(errno, what);
  }
  // An empty list of cpus is a line break: a write of nothing would change nothing.
  const std::string line = value + "\n";
  if (::write(fd.get(), line.data(), line.size()) >= 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  const absl::Status status = base::ErrnoStatus(error, what);
  return error == EINVAL || error == ERANGE || error == ENODEV
             ? absl::InvalidArgumentError(status.message())
             : status;
}

absl::StatusOr<std::string> PathOf(const Hierarchy& hierarchy, const std::string& cgroup,
                                   const std::string& name) {
  const size_t slash = name.find('/');
  ASSIGN_OR_RETURN(const std::string dir, hierarchy.Dir(cgroup, name.substr(0, slash)));
  return dir + name.substr(slash);
}

// With systemd's scopes, crun puts the container and its limits into a cgroup of this name inside.
constexpr char kInner[] = "container";

// "controller/file" of the cgroup inside.
std::string Inner(const std::string& name) {
  const size_t slash = name.find('/');
  return fmt::format("{}/{}{}", name.substr(0, slash), kInner, name.substr(slash));
}

std::string HugepageFile(bool is_v2, const std::string& page_size, bool reserved) {
  return fmt::format("hugetlb/hugetlb.{}{}.{}", page_size, reserved ? ".rsvd" : "",
                     is_v2 ? "max" : "limit_in_bytes");
}

std::vector<std::string> FilesOf(bool is_v2, const LimitKinds& kinds) {
  std::vector<std::string> files;
  const auto add = [&](std::initializer_list<const char*> names) {
    files.insert(files.end(), names.begin(), names.end());
  };
  if (kinds.cpu && is_v2) {
    add({"cpu/cpu.weight", "cpu/cpu.max"});
  } else if (kinds.cpu) {
    add({"cpu/cpu.shares", "cpu/cpu.cfs_period_us", "cpu/cpu.cfs_quota_us"});
  }
  if (kinds.memory && is_v2) {
    add({"memory/memory.max", "memory/memory.swap.max"});
  } else if (kinds.memory) {
    add({"memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes"});
  }
  if (kinds.cpuset) {
    add({"cpuset/cpuset.cpus", "cpuset/cpuset.mems"});
  }
  for (const std::string& size : kinds.page_sizes) {
    files.push_back(HugepageFile(is_v2, size, false));
    files.push_back(HugepageFile(is_v2, size, true));
  }
  for (const std::string& name : kinds.files) {
    files.push_back(fmt::format("{}/{}", name.substr(0, name.find('.')), name));
  }
  for (size_t i = 0, count = files.size(); i < count; ++i) {
    files.push_back(Inner(files[i]));
  }
  return files;
}

// Writes the file in the cgroup and in the one inside, as far as they have it. False: neither.
absl::StatusOr<bool> WriteBoth(const Hierarchy& hierarchy, const std::string& cgroup,
                               const std::string& name, const std::string& value) {
  bool found = false;
  for (const std::string& each : {name, Inner(name)}) {
    ASSIGN_OR_RETURN(const std::string path, PathOf(hierarchy, cgroup, each));
    if (base::PathExists(path)) {
      RETURN_IF_ERROR(Write(path, value));
      found = true;
    }
  }
  return found;
}

// A line "NAME VALUE" of memory.stat.
int64_t StatValue(const std::string& stat, std::string_view name) {
  for (const absl::string_view line : absl::StrSplit(stat, '\n')) {
    const std::pair<absl::string_view, absl::string_view> words = absl::StrSplit(line, ' ');
    int64_t value = 0;
    if (std::string_view(words.first.data(), words.first.size()) == name) {
      std::from_chars(words.second.data(), words.second.data() + words.second.size(), value);
      return value;
    }
  }
  return 0;
}

int64_t Number(const std::optional<std::string>& text) {
  return text ? std::strtoll(text->c_str(), nullptr, 10) : 0;
}

}  // namespace

LimitValues ReadLimits(const Hierarchy& hierarchy, const std::string& cgroup,
                       const LimitKinds& kinds) {
  LimitValues values;
  for (const std::string& name : FilesOf(hierarchy.version() == Version::kV2, kinds)) {
    const absl::StatusOr<std::string> path = PathOf(hierarchy, cgroup, name);
    if (const auto value = path.ok() ? Read(*path) : std::nullopt) {
      values.emplace(name, *value);
    }
  }
  return values;
}

absl::Status RestoreLimits(const Hierarchy& hierarchy, const std::string& cgroup,
                           const LimitValues& values) {
  absl::Status first;
  // Twice: v1 takes a memory limit only below the one that counts swap too, so which of them comes
  // first depends on where they are. So it is with quota and period.
  for (int round = 0; round < 2; ++round) {
    first = absl::OkStatus();
    for (const auto& [name, value] : values) {
      const absl::StatusOr<std::string> path = PathOf(hierarchy, cgroup, name);
      const std::optional<std::string> now = path.ok() ? Read(*path) : std::nullopt;
      if (!now || *now == value) {
        continue;
      }
      if (absl::Status status = Write(*path, value); !status.ok() && first.ok()) {
        first = std::move(status);
      }
    }
  }
  return first;
}

absl::Status SetHugepageLimit(const Hierarchy& hierarchy, const std::string& cgroup,
                              const std::string& page_size, uint64_t bytes) {
  const bool is_v2 = hierarchy.version() == Version::kV2;
  const std::string value = fmt::format("{}", bytes);
  ASSIGN_OR_RETURN(const bool is_known,
                   WriteBoth(hierarchy, cgroup, HugepageFile(is_v2, page_size, false), value));
  if (!is_known) {
    return absl::InvalidArgumentError(
        fmt::format("this node has no huge pages of size '{}'", page_size));
  }
  return WriteBoth(hierarchy, cgroup, HugepageFile(is_v2, page_size, true), value).status();
}

absl::Status LiftCpuQuota(const Hierarchy& hierarchy, const std::string& cgroup) {
  const bool is_v2 = hierarchy.version() == Version::kV2;
  return WriteBoth(hierarchy, cgroup, is_v2 ? "cpu/cpu.max" : "cpu/cpu.cfs_quota_us",
                   is_v2 ? "max" : "-1")
      .status();
}

absl::Status CheckMemoryFits(const Hierarchy& hierarchy, const std::string& cgroup, int64_t bytes) {
  const bool is_v2 = hierarchy.version() == Version::kV2;
  const absl::StatusOr<std::string> dir = hierarchy.Dir(cgroup, "memory");
  if (!dir.ok()) {
    return absl::IsNotFound(dir.status()) ? absl::OkStatus() : dir.status();
  }
  const std::string usage = *dir + (is_v2 ? "/memory.current" : "/memory.usage_in_bytes");
  const int64_t used = Number(Read(usage));
  if (used <= bytes) {
    return absl::OkStatus();
  }
  const std::string stat = Read(*dir + "/memory.stat").value_or("");
  const std::string prefix = is_v2 ? "" : "total_";
  const int64_t needed =
      used - StatValue(stat, prefix + "inactive_file") - StatValue(stat, prefix + "active_file");
  const auto refuse = [&](int64_t now) {
    return absl::FailedPreconditionError(
        fmt::format("memory limit of {} bytes: the container uses {} bytes now", bytes, now));
  };
  if (needed > bytes) {
    return refuse(needed);
  }
  if (!is_v2) {
    return absl::OkStatus();  // v1 gives back what it can, and refuses a limit that does not fit
  }
  // Gives less back than asked for: an error, and it does not matter as long as the limit fits.
  // Kernels before 5.19 have no such file.
  Write(*dir + "/memory.reclaim", fmt::format("{}", used - bytes)).IgnoreError();
  const int64_t left = Number(Read(usage));
  return left <= bytes || !base::PathExists(*dir + "/memory.reclaim") ? absl::OkStatus()
                                                                      : refuse(left);
}

absl::Status ChangeOomScore(const Hierarchy& hierarchy, const std::string& cgroup, int from, int to,
                            const std::string& proc_root) {
  if (from == to) {
    return absl::OkStatus();
  }
  for (int round = 0; round < kOomRounds; ++round) {
    ASSIGN_OR_RETURN(const std::vector<pid_t> pids, hierarchy.Pids(cgroup));
    bool found = false;
    for (const pid_t pid : pids) {
      const std::string path = fmt::format("{}/{}/oom_score_adj", proc_root, pid);
      const std::optional<std::string> value = Read(path);
      if (!value || *value != fmt::format("{}", from)) {
        continue;
      }
      found = true;
      absl::Status status = Write(path, fmt::format("{}", to));
      // It may have ended meanwhile.
      if (!status.ok() && base::PathExists(path)) {
        return base::Annotate(status, "oom_score_adj");
      }
    }
    if (!found) {
      break;
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::cgroup
