#include "lib/runtime/exec_call.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "lib/base/file.h"
#include "lib/base/id.h"
#include "lib/base/status.h"

namespace berth::runtime {
namespace {

using monitor_protocol::ExecOutcome;

// Time for the helper to kill a tree and end; only a process in uninterruptible sleep takes longer.
constexpr absl::Duration kKillTimeout = absl::Seconds(10);

absl::StatusOr<base::UniqueFd> MakeProcessFile(std::string_view process_json) {
  base::UniqueFd file(::memfd_create("process.json", MFD_CLOEXEC));
  if (!file) {
    return base::ErrnoStatus(errno, "make process file");
  }
  RETURN_IF_ERROR(base::WriteFd(file.get(), process_json));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) {
    return base::ErrnoStatus(errno, "rewind process file");
  }
  return file;
}

// What the helper does for runtimes that do not look at it in `process`.
std::vector<std::string> ProcessArguments(std::string_view process_json) {
  std::vector<std::string> argv;
  const nlohmann::json process = nlohmann::json::parse(process_json, nullptr, false);
  if (!process.is_object()) {
    return argv;  // the runtime will say so
  }
  if (const auto score = process.find("oomScoreAdj");
      score != process.end() && score->is_number_integer()) {
    argv.insert(argv.end(), {"--oom-score-adj", fmt::format("{}", score->get<int>())});
  }
  if (const auto cpu = process.find("execCPUAffinity"); cpu != process.end()) {
    argv.insert(argv.end(), {"--cpu", cpu->value("final", "")});
  }
  return argv;
}

// A command in a user namespace opens its standard files by path as well (/dev/stdout).
absl::Status GiveAway(const base::ProcessSpec& spec, const base::Owner& owner) {
  for (const int fd : {spec.stdin_fd, spec.stdout_fd, spec.stderr_fd}) {
    if (fd >= 0 && owner != base::Owner() && ::fchown(fd, owner.uid, owner.gid) != 0) {
      return base::ErrnoStatus(errno, "change the owner of a pipe");
    }
  }
  return absl::OkStatus();
}

// A runtime that is killed may leave its own program there, mounted on a file (crun).
void RemoveScratch(const std::string& dir) {
  if (::rmdir(dir.c_str()) == 0 || errno != ENOTEMPTY) {
    return;
  }
  for (const std::string& name : base::ListDir(dir).value_or(std::vector<std::string>())) {
    const std::string path = dir + "/" + name;
    ::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    ::unlink(path.c_str());
  }
  ::rmdir(dir.c_str());
}

}  // namespace

absl::Status ExecPipe::Open(Parent who) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return base::ErrnoStatus(errno, "make pipe");
  }
  parent.Reset(ends[who == Parent::kReads ? 0 : 1]);
  child.Reset(ends[who == Parent::kReads ? 1 : 0]);
  if (::fcntl(parent.get(), F_SETFL, O_NONBLOCK) != 0) {
    return base::ErrnoStatus(errno, "make pipe non-blocking");
  }
  return absl::OkStatus();
}

absl::Status ExecCall::Open(std::string_view process_json, const std::string& scratch_dir) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return base::ErrnoStatus(errno, "make socket pair");
  }
  report_fd.Reset(ends[0]);
  helper_fd_.Reset(ends[1]);
  ASSIGN_OR_RETURN(process_file_, MakeProcessFile(process_json));
  process_arguments_ = ProcessArguments(process_json);
  const std::string dir = fmt::format("{}/exec-{}", scratch_dir, base::GenerateId().substr(0, 16));
  if (::mkdir(dir.c_str(), 0700) != 0) {
    return base::ErrnoStatus(errno, fmt::format("make directory '{}'", dir));
  }
  scratch_dir_ = dir;
  pid_file_ = dir + "/pid";
  return absl::OkStatus();
}

ExecCall::~ExecCall() {
  if (!scratch_dir_.empty()) {
    RemoveScratch(scratch_dir_);
  }
}

absl::StatusOr<base::Process> ExecCall::Start(base::ProcessRunner& runner, const Handler& handler,
                                              const OciRuntimeOptions& options,
                                              const std::string& id,
                                              const std::vector<std::string>& helper_options,
                                              base::ProcessSpec spec) {
  RETURN_IF_ERROR(GiveAway(spec, options.stdio_owner));
  spec.argv = {options.monitor_path, "exec", "--pid-file", pid_file_, "--id", id};
  spec.argv.insert(spec.argv.end(), process_arguments_.begin(), process_arguments_.end());
  spec.argv.insert(spec.argv.end(), helper_options.begin(), helper_options.end());
  spec.argv.push_back("--");
  const std::vector<std::string> command = handler.Command(options.systemd_cgroup);
  spec.argv.insert(spec.argv.end(), command.begin(), command.end());
  spec.argv.insert(spec.argv.end(),
                   {"--log", "/dev/null", "exec", "--detach", "--pid-file", pid_file_, "--process",
                    fmt::format("/proc/self/fd/{}", monitor_protocol::kExecProcessFd)});
  spec.env = WithScratch(options.env.empty() ? RuntimeEnvironment() : options.env, scratch_dir_);
  spec.extra_fds.insert(spec.extra_fds.begin(), {helper_fd_.get(), process_file_.get()});
  absl::StatusOr<base::Process> helper = runner.Start(spec);
  if (!helper.ok()) {
    return absl::UnavailableError(helper.status().message());
  }
  helper_fd_.Reset();
  process_file_.Reset();
  return helper;
}

void EndExecHelper(base::Process& helper) {
  if (!helper.Wait(base::OpContext::WithTimeout(kKillTimeout)).ok()) {
    (void)helper.Kill(SIGKILL);
    (void)helper.Wait(base::OpContext::Background());
  }
}

absl::Status ExecStartError(const monitor_protocol::ExecReportPacket& report,
                            const Handler& handler, const std::string& id, std::string_view text,
                            std::string_view what) {
  if (report.outcome == ExecOutcome::kRuntimeFailed) {
    return RuntimeError(handler.name, "exec in", id, text, report.code);
  }
  return absl::UnavailableError(
      base::ErrnoStatus(report.code, fmt::format("{}: run '{}'", what, handler.path)).message());
}

}  // namespace berth::runtime
