// Lab: a directory with bundles, monitors and one OCI runtime, real or played by a script, for
// tests of this library.
//
// Its end removes every container and fails the test when a process, mount, cgroup or socket of it
// is left. Needs berth-monitor's path in BERTH_MONITOR (set by CMake). A real runtime needs root
// and busybox-static. Threads: one, plus the event loop's own.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lib/base/event_loop.h"
#include "lib/base/mutex.h"
#include "lib/base/process_runner.h"
#include "lib/runtime/monitor_client.h"
#include "lib/runtime/oci_runtime.h"

namespace berth::runtime::testing {

struct ContainerOptions {
  std::vector<std::string> args;
  bool tty = false;
  bool open_stdin = false;
  bool stdin_once = false;
  bool log = true;
  bool share_pid_namespace = false;  // with the node
  int64_t log_max_bytes = 0;
  int64_t memory_limit = 0;
  uint16_t tty_height = 0;
  uint16_t tty_width = 0;
};

class Lab {
 public:
  // runtime: "runc" or "crun"; or the text of a script ("#!/bin/sh ...") that plays one.
  // systemd: containers are in its transient scopes, not in cgroups that the runtime makes.
  explicit Lab(const std::string& runtime, bool systemd = false);
  ~Lab();

  // Makes bundle and spec; nothing runs. The container's id is in it.
  MonitorSpec Prepare(const ContainerOptions& options);
  absl::StatusOr<MonitorState> Spawn(const MonitorSpec& spec);
  // Prepare, Spawn, Start; fails the test otherwise.
  MonitorSpec Run(const ContainerOptions& options);
  MonitorSpec RunShell(const std::string& script);

  // Waits for on_gone, then reads the exit record.
  absl::StatusOr<ExitRecord> AwaitExit(const MonitorSpec& spec);
  bool AwaitGone(const std::string& id, absl::Duration timeout = absl::Seconds(20));
  // Times that on_gone and on_oom were called for it.
  int gone(const std::string& id);
  int oom(const std::string& id);

  std::string LogText(const MonitorSpec& spec) const;
  // Records of a CRI log without their time: "stdout F text". A malformed line fails the test.
  static std::vector<std::string> Records(const std::string& content);
  std::vector<std::string> LogRecords(const MonitorSpec& spec) const {
    return Records(LogText(spec));
  }
  // Waits until the log contains `text`.
  bool AwaitLog(const MonitorSpec& spec, const std::string& text,
                absl::Duration timeout = absl::Seconds(20)) const;

  // An OCI process object that runs these arguments.
  std::string Process(const std::vector<std::string>& args, bool tty = false) const;
  absl::StatusOr<ExecResult> Exec(const MonitorSpec& spec, const std::string& script,
                                  absl::Duration timeout = absl::Seconds(20));

  MonitorConnection Connect(const MonitorSpec& spec);

  // Calls that the scripted runtime wrote down, a line each.
  std::string Calls() const;

  const std::string& dir() const { return dir_; }
  const Handler& handler() const { return handler_; }
  OciRuntime& runtime() { return *runtime_; }
  Monitors& monitors() { return *monitors_; }
  base::ProcessRunner& runner() { return runner_; }
  base::EventLoop& loop() { return loop_; }
  // As a daemon that died and is started again: new Monitors, and nothing known of the old.
  void RestartMonitors();

  static base::OpContext Soon() { return base::OpContext::WithTimeout(absl::Seconds(20)); }
  static std::string monitor_path();

 private:
  void MakeRootfs();
  void WriteConfig(const MonitorSpec& spec, const ContainerOptions& options);
  void CheckNothingIsLeft();

  std::string dir_;
  std::string rootfs_;
  bool is_real_;
  bool systemd_;
  Handler handler_;
  base::EventLoop loop_;
  base::SystemProcessRunner runner_;
  std::unique_ptr<OciRuntime> runtime_;
  std::unique_ptr<Monitors> monitors_;
  std::vector<std::string> ids_;

  base::Mutex mu_;
  base::CondVar changed_;
  std::map<std::string, int> gone_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> oom_ ABSL_GUARDED_BY(mu_);
};

// A script that plays a runtime with /bin/sh: the container is the script BUNDLE/cmd, run once
// BUNDLE/started exists. `faults` is put in before the verbs: it sees $verb, $id, $bundle and
// $pid_file.
std::string FakeRuntime(const std::string& faults = "");

// Waits until a condition holds, looking every few milliseconds: for states of the kernel that
// nothing tells of.
bool Eventually(const std::function<bool()>& condition, absl::Duration timeout = absl::Seconds(10));

// PSS of a process in kB (/proc/PID/smaps_rollup).
int64_t PssKilobytes(pid_t pid);

// Pids whose command line contains `text`.
std::vector<pid_t> ProcessesWith(const std::string& text);

}  // namespace berth::runtime::testing
