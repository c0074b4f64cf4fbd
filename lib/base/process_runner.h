// ProcessRunner: the only place of the daemon that starts programs.
//
// A child has exactly the descriptors it was given (0, 1, 2, then extra_fds from 3 on), the
// environment it was given, default signal dispositions and an empty signal mask. It is started by
// clone3(2), so it can be born inside namespaces and a cgroup, and is waited for by pidfd, so a
// recycled pid is never signalled.
//
// Threads: thread-safe. Ownership: Process owns the pidfd; destroying it neither kills nor reaps,
// so Wait() or Detach().
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/unique_fd.h"

namespace berth::base {

struct ExitStatus {
  int code = 0;    // exit(2)'s argument when signal is 0
  int signal = 0;  // the signal that ended it, or 0
  bool ok() const { return code == 0 && signal == 0; }
  // Shell style: 128 + signal.
  int Combined() const { return signal != 0 ? 128 + signal : code; }
};

// A user namespace for a child to be born in (man 7 user_namespaces).
struct UserNamespace {
  std::string uid_map, gid_map;  // texts of /proc/PID/uid_map and gid_map
  // False: the child keeps its ids, which the namespace may not know. True: it is root in it, with
  // no supplementary group; both maps have an id 0.
  bool is_root = true;
  // What that is outside. The namespace, and those of other kinds that clone_flags name, belong to
  // this user and count against its limits (/proc/sys/user), not against root's.
  uid_t root_uid = 0;
  gid_t root_gid = 0;
};

struct ProcessSpec {
  std::vector<std::string> argv;  // argv[0]: absolute path of the program
  std::vector<std::string> env;   // the whole environment, "K=V"; nothing is inherited
  std::string cwd;                // empty: "/"
  int stdin_fd = -1;              // -1: /dev/null; borrowed until Start returns
  int stdout_fd = -1;
  int stderr_fd = -1;
  std::vector<int> extra_fds;  // become 3, 4, ...; borrowed until Start returns
  uint64_t clone_flags = 0;    // CLONE_NEW*, but CLONE_NEWUSER
  // In force from before before_exec on, with every capability inside; so the program must be one
  // that this user can reach.
  std::optional<UserNamespace> user_namespace;
  int cgroup_fd = -1;        // cgroup v2 directory to be born in (CLONE_INTO_CGROUP)
  bool new_session = false;  // setsid(2)
  // Runs in the child just before execve; returns 0 or an errno, which Start reports. Only
  // async-signal-safe calls.
  std::function<int()> before_exec;
};

class Process {
 public:
  Process() = default;
  Process(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  Process(Process&&) = default;
  Process& operator=(Process&&) = default;

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  // Waits for its end and reaps it. kDeadlineExceeded / kCancelled by the context: it still runs
  // then.
  absl::StatusOr<ExitStatus> Wait(const OpContext& ctx);
  // Sends a signal; OK when it has ended already.
  absl::Status Kill(int signal) const;

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
};

struct RunLimits {
  size_t max_stdout = 1 << 20;  // bytes kept of each stream; the rest is read and dropped
  size_t max_stderr = 64 << 10;
};

struct RunResult {
  ExitStatus exit;
  std::string out;
  std::string err;
  bool truncated = false;
};

class ProcessRunner {
 public:
  virtual ~ProcessRunner() = default;

  // kNotFound: no such program; other errnos of clone3, before_exec or execve.
  virtual absl::StatusOr<Process> Start(const ProcessSpec& spec) = 0;

  // Starts it with `input` on stdin (stdin_fd/stdout_fd/stderr_fd of spec are ignored), collects
  // what it prints and waits. At the context's end the child is killed (SIGKILL) and reaped, and
  // the context's error returned. An exit code other than 0 is a result.
  virtual absl::StatusOr<RunResult> Run(const OpContext& ctx, const ProcessSpec& spec,
                                        std::string_view input, RunLimits limits = RunLimits()) = 0;
};

// The real one.
class SystemProcessRunner : public ProcessRunner {
 public:
  absl::StatusOr<Process> Start(const ProcessSpec& spec) override;
  absl::StatusOr<RunResult> Run(const OpContext& ctx, const ProcessSpec& spec,
                                std::string_view input, RunLimits limits) override;
};

// Raises this process's soft limit of open files to the hard one. Children get back the one that
// was in force before: programs that use select(2), or loop over all descriptors, suffer from a
// large one.
absl::Status RaiseOpenFileLimit();

// The program's absolute path by $PATH (or /usr/local/sbin:... when unset); kNotFound names what
// was looked for.
absl::StatusOr<std::string> FindProgram(const std::string& name);

// Field 22 of /proc/PID/stat, in clock ticks since boot: with the pid it names a process for good.
// kNotFound: no such process, or it is a zombie or dead.
absl::StatusOr<uint64_t> ProcessStartTime(pid_t pid);

}  // namespace berth::base
