// OciRuntime: the calls of one OCI runtime (runc, crun) that the daemon makes itself. `create` is
// berth-monitor's (monitor_client.h), since the container's first process must become its child.
//
// Errors carry what the runtime said (bounded, control characters escaped) with a code that says
// what to do: kNotFound: the runtime does not know the container; kFailedPrecondition: it is not in
// the right state (not running, already started); kDeadlineExceeded / kCancelled: by the context,
// the runtime was killed; kUnavailable: the runtime program is gone; kInternal: anything else the
// runtime said.
//
// Threads: thread-safe; no state of its own. Ownership: borrows the runner and the handler.
// Source: OCI runtime-spec "runtime.md", opencontainers/runtime-tools command line interface.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "lib/base/beneath.h"
#include "lib/base/op_context.h"
#include "lib/base/process_runner.h"
#include "lib/base/unique_fd.h"
#include "lib/runtime/runtime_handlers.h"

namespace berth::runtime {

struct OciRuntimeOptions {
  bool systemd_cgroup = false;
  std::string monitor_path;  // berth-monitor, whose `exec` mode both execs use
  // Exists, on a tmpfs; for the runtime's temporary files (WithScratch) and for a pid file
  // while an exec starts. What a killed call leaves there is the owner's to remove.
  std::string scratch_dir;
  std::vector<std::string> env;  // of the runtime; empty: RuntimeEnvironment()
  base::Owner stdio_owner = {};  // as in MonitorSpec, for ExecSync
};

// The environment for runtimes: this process's PATH (or the usual one), and of its other variables
// only those that a runtime reads: TZ, XDG_RUNTIME_DIR, DBUS_SYSTEM_BUS_ADDRESS.
std::vector<std::string> RuntimeEnvironment();

// `env` with the variable that tells a runtime where to put temporary files. At every call crun
// mounts its own program, read-only, on a file `crun.XXXXXX` and runs that, so that no container
// gets hold of the real one (CVE-2019-5736); killed within that millisecond it leaves both. Without
// the variable they are in /tmp: crun 1.8.1 does not look at TMPDIR. runc uses its state directory.
std::vector<std::string> WithScratch(std::vector<std::string> env, const std::string& scratch_dir);

struct ExecResult {
  int exit_code = 0;  // 128 + signal when a signal ended it; -1 when timed_out
  std::string out;    // at most kExecOutputLimit bytes each
  std::string err;
  bool timed_out = false;  // killed at the timeout, with all its children
  bool truncated = false;  // output was dropped
};

// Which standard files of a command somebody wants. terminal: input and output are a terminal.
struct ExecStreams {
  bool in = false;
  bool out = false;
  bool err = false;
  bool terminal = false;
};

// A command that runs. Descriptors are close-on-exec and non-blocking. Without a terminal, `in`,
// `out` and `err` are this side's ends of pipes, where asked for; what was not asked for reads as
// empty and is dropped. With one, `terminal` is its master, in which a hangup (EIO) comes after the
// command's end only.
struct StartedExec {
  base::UniqueFd in, out, err, terminal;
  // SOCK_SEQPACKET: one monitor_protocol::ExecReportPacket when the command has ended, then end of
  // file. Closing it while the command runs kills the command and everything it started.
  base::UniqueFd report;
  // To be reaped when it ends, soon after the report or the closing of `report`.
  base::Process helper;
};

class OciRuntime {
 public:
  // Output kept of each stream of an exec (CRI v1 ExecSync); the rest is read and dropped.
  static constexpr size_t kExecOutputLimit = 16 << 20;

  OciRuntime(base::ProcessRunner& runner, const Handler& handler, OciRuntimeOptions options)
      : runner_(runner), handler_(handler), options_(std::move(options)) {}

  const Handler& handler() const { return handler_; }

  absl::Status Start(const base::OpContext& ctx, const std::string& id);
  // `signal` is the kernel's number. all: every process of the container, for one that shares its
  // PID namespace.
  absl::Status Kill(const base::OpContext& ctx, const std::string& id, int signal, bool all);
  // force: kills it first if it runs. OK when the runtime does not know it.
  absl::Status Delete(const base::OpContext& ctx, const std::string& id, bool force);
  // resources_json: the OCI "linux.resources" object.
  absl::Status Update(const base::OpContext& ctx, const std::string& id,
                      std::string_view resources_json);

  // Runs a command in a running container and waits for it. process_json: the OCI "process" object
  // (terminal false). timeout zero: none but the context's; the context's end is an error, the
  // timeout's is a result with timed_out. kNotFound with reason kReasonNoCommand (base::GetReason):
  // the command does not exist in the container. Its oomScoreAdj and execCPUAffinity (one
  // CPU) hold with every runtime and kernel; what the command forks before its runtime has ended
  // may lack them.
  //
  // How: a foreground `runc exec` copies the output itself and does not end while any process holds
  // the pipes, so a child left in the background hangs it for good, with the exit code inside.
  // `exec --detach` gives the pipes to the command itself and ends when it runs, with runc and crun
  // alike; the command then becomes the child of the nearest subreaper. That is `berth-monitor
  // exec`, which lives as long as the command, reports its end and kills its whole tree when this
  // side closes the report socket (so also when berthd dies). It costs one start of a 60 kB static
  // program and saves runc's 10 MB for as long as the command runs. Were berthd the subreaper, it
  // would have to reap unknown orphans.
  absl::StatusOr<ExecResult> ExecSync(const base::OpContext& ctx, const std::string& id,
                                      std::string_view process_json, absl::Duration timeout);
  static constexpr std::string_view kReasonNoCommand = "CommandNotFound";

  // The same for a command whose streams the caller moves (CRI v1 Exec): returns when it runs.
  // `process_json` has terminal as `streams` has. Errors as ExecSync's; on an error, also the
  // context's, nothing is left.
  absl::StatusOr<StartedExec> StartExec(const base::OpContext& ctx, const std::string& id,
                                        std::string_view process_json, const ExecStreams& streams);

 private:
  std::vector<std::string> Environment() const;
  // Runs `<runtime> args`; `verb` is for the message.
  absl::Status Call(const base::OpContext& ctx, std::string_view verb, const std::string& id,
                    const std::vector<std::string>& args, std::string_view input = {});

  base::ProcessRunner& runner_;
  const Handler& handler_;
  const OciRuntimeOptions options_;
};

// Turns what a runtime printed on its standard error output into a status (see the codes above):
// `<runtime> <verb> container 'id': <text>`.
absl::Status RuntimeError(std::string_view runtime, std::string_view verb, const std::string& id,
                          std::string_view text, int exit_code);
// Text of a program for a message: one line of at most 2 KiB (its end, if it is longer), control
// characters escaped.
std::string CleanMessage(std::string_view text);

}  // namespace berth::runtime
