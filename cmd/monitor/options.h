// The monitor's command line, made by lib/runtime (monitor_client.cc, exec_call.cc) alone:
//
//   berth-monitor --id ID --bundle DIR --socket PATH --exit-file PATH
//                 [--log PATH [--log-max-size BYTES]] [--journal SOCKET --name NAME]
//                 [--tty [--tty-height N --tty-width N]] [--stdin [--stdin-once]] [--no-pivot]
//                 [--stdio-uid N --stdio-gid N]
//                 -- RUNTIME [--root DIR] [--systemd-cgroup] [...]
//   berth-monitor exec --pid-file PATH --id ID [--tty] [--report-start] [--drain] [--cpu N]
//                 [--oom-score-adj N] -- RUNTIME ... exec --detach --pid-file PATH ...
//   berth-monitor --version
#pragma once

#include <stdint.h>

namespace berth::monitor {

inline constexpr int kMaxRuntimeArguments = 64;

struct Options {
  bool exec = false;
  bool version = false;
  const char* id = nullptr;
  const char* bundle = nullptr;
  const char* socket = nullptr;
  const char* exit_file = nullptr;
  const char* log = nullptr;
  const char* journal = nullptr;        // socket of systemd's journal
  const char* name = nullptr;           // the container's, for the journal
  const char* pid_file = nullptr;       // exec only; a container's is <socket>.pid
  const char* oom_score_adj = nullptr;  // exec only: the command's
  int64_t cpu = -1;                     // exec only: where the command runs; -1: anywhere
  int64_t log_max_size = 0;
  int64_t tty_height = 0;
  int64_t tty_width = 0;
  int64_t stdio_uid = 0;  // owner of the pipes
  int64_t stdio_gid = 0;
  bool tty = false;
  bool open_stdin = false;
  bool stdin_once = false;
  bool no_pivot = false;
  bool report_start = false;  // exec: tell when the command runs, and hand out its terminal
  bool drain = false;         // exec: read and drop what comes from kExecDrainFd
  char** runtime = nullptr;   // what follows "--": the runtime's path and global options
  int runtime_count = 0;
};

// False with a text that says what is wrong. Borrows argv.
bool ParseOptions(int argc, char** argv, Options* options, const char** error);

}  // namespace berth::monitor
