// What both kinds of exec have in common: this side of `berth-monitor exec` (cmd/monitor/exec.cc).
// Internal to lib/runtime. Threads: one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "lib/base/process_runner.h"
#include "lib/base/unique_fd.h"
#include "lib/monitor_protocol/protocol.h"
#include "lib/runtime/oci_runtime.h"

namespace berth::runtime {

// Reads at once.
inline constexpr size_t kExecReadBytes = 64 << 10;

// A pipe whose parent's end does not block.
class ExecPipe {
 public:
  enum class Parent { kReads, kWrites };

  absl::Status Open(Parent parent);
  base::UniqueFd parent, child;
};

// One start of the helper: what is made before and closed after it. To be destroyed when the
// command runs or the helper has ended.
class ExecCall {
 public:
  absl::Status Open(std::string_view process_json, const std::string& scratch_dir);
  // Starts the helper with these standard files (those of `spec`) and options of its own.
  absl::StatusOr<base::Process> Start(base::ProcessRunner& runner, const Handler& handler,
                                      const OciRuntimeOptions& options, const std::string& id,
                                      const std::vector<std::string>& helper_options,
                                      base::ProcessSpec spec);
  ~ExecCall();

  // Closing it makes the helper kill what still runs.
  base::UniqueFd report_fd;

 private:
  base::UniqueFd helper_fd_;
  base::UniqueFd process_file_;
  std::string scratch_dir_;  // of this call; the runtime has ended when it is removed
  std::string pid_file_;     // in it
  std::vector<std::string> process_arguments_;  // of the helper
};

// Waits for the helper, whose report socket is closed, and kills it if it takes too long.
void EndExecHelper(base::Process& helper);

// The error behind a report that says that the command was not started. `text`: what came from the
// runtime's standard error output. what: "exec in container 'id'".
absl::Status ExecStartError(const monitor_protocol::ExecReportPacket& report,
                            const Handler& handler, const std::string& id, std::string_view text,
                            std::string_view what);

}  // namespace berth::runtime
