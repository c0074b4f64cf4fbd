#include "lib/cgroup/hierarchy.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::cgroup {

namespace {

constexpr size_t kMaxFile = 4 << 20;
// Cgroups nested deeper, or more of them below one, are not ours.
constexpr int kMaxDepth = 64;
constexpr absl::Duration kRemoveBudget = absl::Seconds(2);
constexpr absl::Duration kRetry = absl::Milliseconds(5);
constexpr int kRoundsBeforeFreezing = 4;

// Names in mountinfo have space, tab, newline and backslash as \ooo.
std::string Unescape(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    int value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 4], value, 8).ptr == &text[i + 4]) {
      result += static_cast<char>(value);
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

// Mount options that are no controllers.
bool IsController(const std::string& option) {
  constexpr std::string_view kControllers[] = {
      "cpu",     "cpuacct",    "cpuset",  "memory",   "devices", "freezer", "blkio", "pids",
      "hugetlb", "perf_event", "net_cls", "net_prio", "rdma",    "misc",    "dmem",  "debug"};
  return absl::StartsWith(option, "name=") ||
         std::find(std::begin(kControllers), std::end(kControllers), option) !=
             std::end(kControllers);
}

struct MountLine {
  Mount mount;
  bool is_v2 = false;
};

// One line of mountinfo, proc(5): id parent major:minor root mountpoint options optional... - type
// source super-options. Nothing when it is not a cgroup file system.
std::optional<MountLine> ParseMountLine(const std::string& line) {
  const std::vector<std::string> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
  if (halves.size() < 2) {
    return std::nullopt;
  }
  const std::vector<std::string> left = absl::StrSplit(halves[0], ' ');
  const std::vector<std::string> right = absl::StrSplit(halves[1], ' ');
  if (left.size() < 5 || right.size() < 3 || (right[0] != "cgroup" && right[0] != "cgroup2")) {
    return std::nullopt;
  }
  MountLine result;
  result.is_v2 = right[0] == "cgroup2";
  result.mount.path = Unescape(left[4]);
  const std::vector<std::string> options = absl::StrSplit(right[2], ',');
  for (const std::string& option : options) {
    if (!result.is_v2 && IsController(option)) {
      result.mount.controllers.push_back(option);
    }
  }
  return result;
}

// A path of a cgroup: absolute and without "..", so that joined to a mount it stays below.
absl::Status ValidateCgroup(const std::string& cgroup) {
  const bool ok = absl::StartsWith(cgroup, "/") && cgroup.find('\0') == std::string::npos &&
                  !absl::StrContains(cgroup + "/", "/../") &&
                  !absl::StrContains(cgroup + "/", "/./");
  return ok ? absl::OkStatus()
            : absl::InvalidArgumentError(fmt::format("'{}' is not the path of a cgroup", cgroup));
}

bool WriteControl(const std::string& path, std::string_view value, int& error) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    error = errno;
    return false;
  }
  const ssize_t n = ::write(fd, value.data(), value.size());
  error = n < 0 ? errno : 0;
  ::close(fd);
  return n >= 0;
}

std::string ReadControl(const std::string& path) {
  absl::StatusOr<std::string> text = base::ReadFile(path, kMaxFile);
  std::string value = text.ok() ? *std::move(text) : "";
  while (!value.empty() && value.back() == '\n') {
    value.pop_back();
  }
  return value;
}

// Calls back for each directory below `dir` and then for itself: deepest first. Absent: not called.
template <typename Visit>
absl::Status VisitDeepestFirst(const std::string& dir, int depth, const Visit& visit) {
  if (depth > kMaxDepth) {
    return absl::FailedPreconditionError(
        fmt::format("cgroups below '{}' are nested too deep", dir));
  }
  DIR* stream = ::opendir(dir.c_str());
  if (stream == nullptr) {
    return errno == ENOENT ? absl::OkStatus()
                           : base::ErrnoStatus(errno, fmt::format("read '{}'", dir));
  }
  std::vector<std::string> children;
  for (const dirent* entry = ::readdir(stream); entry != nullptr; entry = ::readdir(stream)) {
    const std::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") {
      children.push_back(fmt::format("{}/{}", dir, name));
    }
  }
  ::closedir(stream);
  for (const std::string& child : children) {
    RETURN_IF_ERROR(VisitDeepestFirst(child, depth + 1, visit));
  }
  return visit(dir);
}

// A cpuset of v1 is born without cpus and memory nodes and takes no process then.
void InheritCpuset(const std::string& dir) {
  for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
    const std::string path = fmt::format("{}/{}", dir, file);
    if (ReadControl(path).empty()) {
      int ignored = 0;
      WriteControl(path, ReadControl(fmt::format("{}/../{}", dir, file)), ignored);
    }
  }
}

// Enables in `dir` what it has for the cgroups below it. One by one: a controller that cannot be
// (cpu with realtime processes, say) must not keep the others off.
void EnableControllers(const std::string& dir) {
  const std::string enabled = " " + ReadControl(dir + "/cgroup.subtree_control") + " ";
  const std::vector<std::string> available =
      absl::StrSplit(ReadControl(dir + "/cgroup.controllers"), ' ', absl::SkipEmpty());
  for (const std::string& controller : available) {
    if (!absl::StrContains(enabled, " " + controller + " ")) {
      int ignored = 0;
      WriteControl(dir + "/cgroup.subtree_control", "+" + controller, ignored);
    }
  }
}

// mkdir -p of `cgroup` below the mount.
absl::Status MakeBelow(const Mount& mount, const std::string& cgroup, bool is_v2) {
  const bool is_cpuset = std::find(mount.controllers.begin(), mount.controllers.end(), "cpuset") !=
                         mount.controllers.end();
  std::string dir = mount.path;
  const std::vector<std::string> components = absl::StrSplit(cgroup, '/', absl::SkipEmpty());
  for (const std::string& component : components) {
    if (is_v2) {
      EnableControllers(dir);
    }
    dir += "/" + component;
    if (::mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) {
      return base::ErrnoStatus(errno, fmt::format("make cgroup '{}'", dir));
    }
    if (is_cpuset) {
      InheritCpuset(dir);
    }
  }
  return absl::OkStatus();
}

// The lines of /proc/PID/cgroup as "controllers" -> cgroup; v2's has the key "".
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> CgroupsOfProcess(
    const std::string& proc_root, pid_t pid) {
  ASSIGN_OR_RETURN(const std::string text,
                   base::ReadFile(fmt::format("{}/{}/cgroup", proc_root, pid), kMaxFile));
  std::vector<std::pair<std::string, std::string>> result;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() == 3) {
      result.emplace_back(fields[1], fields[2]);
    }
  }
  return result;
}

bool IsIn(const std::vector<std::pair<std::string, std::string>>& current, const Mount& mount,
          const std::string& cgroup) {
  for (const auto& [controllers, path] : current) {
    const std::vector<std::string> names = absl::StrSplit(controllers, ',', absl::SkipEmpty());
    const bool same_tree =
        mount.controllers.empty()
            ? names.empty()
            : std::find(names.begin(), names.end(), mount.controllers[0]) != names.end();
    if (same_tree) {
      return path == cgroup;
    }
  }
  return false;
}

void AppendPids(const std::string& dir, std::set<pid_t>& pids) {
  const std::string text = ReadControl(dir + "/cgroup.procs");
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    pid_t pid = 0;
    std::from_chars(line.data(), line.data() + line.size(), pid);
    if (pid > 0) {
      pids.insert(pid);
    }
  }
}

}  // namespace

Hierarchy::Hierarchy(Version version, bool has_unified, std::vector<Mount> mounts,
                     std::string proc_root)
    : version_(version),
      has_unified_(has_unified),
      mounts_(std::move(mounts)),
      proc_root_(std::move(proc_root)) {}

absl::StatusOr<Hierarchy> Hierarchy::Detect(const std::string& sys_root,
                                            const std::string& proc_root) {
  ASSIGN_OR_RETURN(const std::string text, base::ReadFile(proc_root + "/self/mountinfo", kMaxFile));
  std::vector<Mount> v1;
  std::vector<Mount> v2;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    std::optional<MountLine> found = ParseMountLine(std::string(line));
    if (!found.has_value() ||
        (found->mount.path != sys_root && !absl::StartsWith(found->mount.path, sys_root + "/"))) {
      continue;
    }
    std::vector<Mount>& list = found->is_v2 ? v2 : v1;
    // A later mount on the same place hides the earlier one.
    list.erase(std::remove_if(list.begin(), list.end(),
                              [&](const Mount& m) { return m.path == found->mount.path; }),
               list.end());
    list.push_back(std::move(found->mount));
  }
  if (v1.empty() && v2.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("no cgroup file system is mounted below '{}'", sys_root));
  }
  if (v1.empty()) {
    v2.resize(1);
    return Hierarchy(Version::kV2, true, std::move(v2), proc_root);
  }
  const bool has_unified = !v2.empty();
  if (has_unified) {
    v1.push_back(std::move(v2.front()));
  }
  return Hierarchy(Version::kV1, has_unified, std::move(v1), proc_root);
}

absl::StatusOr<std::string> Hierarchy::Dir(const std::string& cgroup,
                                           const std::string& controller) const {
  for (const Mount& mount : mounts_) {
    if (version_ == Version::kV2 || std::find(mount.controllers.begin(), mount.controllers.end(),
                                              controller) != mount.controllers.end()) {
      return mount.path + (cgroup == "/" ? "" : cgroup);
    }
  }
  return absl::NotFoundError(fmt::format("cgroup controller '{}' is not mounted", controller));
}

std::vector<std::string> Hierarchy::Dirs(const std::string& cgroup) const {
  std::vector<std::string> dirs;
  for (const Mount& mount : mounts_) {
    dirs.push_back(mount.path + (cgroup == "/" ? "" : cgroup));
  }
  return dirs;
}

absl::Status Hierarchy::Create(const std::string& cgroup) const {
  RETURN_IF_ERROR(ValidateCgroup(cgroup));
  for (const Mount& mount : mounts_) {
    RETURN_IF_ERROR(MakeBelow(mount, cgroup, version_ == Version::kV2));
  }
  return absl::OkStatus();
}

absl::StatusOr<base::UniqueFd> Hierarchy::OpenDir(const std::string& cgroup) const {
  RETURN_IF_ERROR(ValidateCgroup(cgroup));
  if (version_ != Version::kV2) {
    return absl::FailedPreconditionError("a process can be born in a cgroup with cgroup v2 only");
  }
  return base::OpenFile(mounts_[0].path + cgroup, O_PATH | O_DIRECTORY);
}

absl::Status Hierarchy::AddProcess(const std::string& cgroup, pid_t pid) const {
  RETURN_IF_ERROR(ValidateCgroup(cgroup));
  const std::string what = fmt::format("move process {} to cgroup '{}'", pid, cgroup);
  const auto current = CgroupsOfProcess(proc_root_, pid);
  if (!current.ok()) {
    return base::Annotate(current.status(), what);
  }
  for (const Mount& mount : mounts_) {
    if (IsIn(*current, mount, cgroup)) {
      continue;
    }
    int error = 0;
    if (!WriteControl(fmt::format("{}{}/cgroup.procs", mount.path, cgroup), std::to_string(pid),
                      error)) {
      // ESRCH: the process has ended.
      const absl::Status status =
          base::ErrnoStatus(error, fmt::format("{}: '{}'", what, mount.path));
      return error == ESRCH
                 ? base::MakeStatus(absl::StatusCode::kNotFound, std::string(status.message()))
                 : status;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<pid_t>> Hierarchy::Pids(const std::string& cgroup) const {
  RETURN_IF_ERROR(ValidateCgroup(cgroup));
  std::set<pid_t> pids;
  for (const std::string& dir : Dirs(cgroup)) {
    RETURN_IF_ERROR(VisitDeepestFirst(dir, 0, [&](const std::string& at) {
      AppendPids(at, pids);
      return absl::OkStatus();
    }));
  }
  return std::vector<pid_t>(pids.begin(), pids.end());
}

absl::Status Hierarchy::KillAll(const base::OpContext& ctx, const std::string& cgroup) const {
  RETURN_IF_ERROR(ValidateCgroup(cgroup));
  if (cgroup == "/") {
    return absl::InvalidArgumentError("the root cgroup's processes are not killed");
  }
  for (int round = 0;; ++round) {
    ASSIGN_OR_RETURN(const std::vector<pid_t> pids, Pids(cgroup));
    if (pids.empty()) {
      return absl::OkStatus();
    }
    // cgroup.kill hits forks under way as well. Where there is none, what forks faster than we read
    // is frozen first.
    int ignored = 0;
    const bool killed =
        version_ == Version::kV2 && WriteControl(Dirs(cgroup)[0] + "/cgroup.kill", "1", ignored);
    if (!killed) {
      const absl::StatusOr<std::string> freezer = Dir(cgroup, "freezer");
      const bool freeze = round >= kRoundsBeforeFreezing && version_ == Version::kV1 &&
                          freezer.ok() &&
                          WriteControl(*freezer + "/freezer.state", "FROZEN", ignored);
      ASSIGN_OR_RETURN(const std::vector<pid_t> frozen, freeze ? Pids(cgroup) : pids);
      for (const pid_t pid : frozen) {
        (void)::kill(pid, SIGKILL);
      }
      if (freeze) {
        WriteControl(*freezer + "/freezer.state", "THAWED", ignored);
      }
    }
    RETURN_IF_ERROR(
        base::Annotate(ctx.Check(), fmt::format("kill the processes of cgroup '{}'", cgroup)));
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(kRetry));
  }
}

absl::Status Hierarchy::Remove(const base::OpContext& ctx, const std::string& cgroup) const {
  RETURN_IF_ERROR(ValidateCgroup(cgroup));
  const std::string what = fmt::format("remove cgroup '{}'", cgroup);
  if (cgroup == "/") {
    return absl::InvalidArgumentError(fmt::format("{}: it is the root", what));
  }
  const base::OpContext budget = ctx.Within(kRemoveBudget);
  while (true) {
    absl::Status busy;
    for (const std::string& dir : Dirs(cgroup)) {
      RETURN_IF_ERROR(
          base::Annotate(VisitDeepestFirst(dir, 0,
                                           [&](const std::string& at) {
                                             if (::rmdir(at.c_str()) == 0 || errno == ENOENT) {
                                               return absl::OkStatus();
                                             }
                                             const int error = errno;
                                             absl::Status status =
                                                 base::ErrnoStatus(error, fmt::format("'{}'", at));
                                             if (error == EBUSY || error == ENOTEMPTY) {
                                               busy = std::move(status);
                                               return absl::OkStatus();
                                             }
                                             return status;
                                           }),
                         what));
    }
    if (busy.ok()) {
      return absl::OkStatus();
    }
    if (!budget.Check().ok()) {
      RETURN_IF_ERROR(base::Annotate(ctx.Check(), what));
      return absl::FailedPreconditionError(
          fmt::format("{}: it is still in use: {}", what, std::string(busy.message())));
    }
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(kRetry));
  }
}

}  // namespace berth::cgroup
