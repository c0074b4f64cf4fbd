// Monitors: the daemon's side of berth-monitor (cmd/monitor, lib/monitor_protocol/protocol.h).
//
// A monitor is started by Spawn, runs `<runtime> create`, and lives as long as the container's
// first process, also when the daemon ends. Monitors keeps one connection to each on the event
// loop; its end means that the monitor has ended, which is told by on_gone(id) exactly once per
// Spawn or Adopt that returned OK. The exit record is in place then, unless the monitor itself was
// killed.
//
// Who reaps: a monitor is a child of the daemon that started it, which reaps it by its pidfd on the
// event loop. A restarted daemon has no children; its old monitors are then pid 1's, as with any
// daemon.
//
// Threads: thread-safe. on_gone runs on the event loop's thread: leaf locks only; it may run before
// Spawn returns.
// Ownership: borrows the loop and the runner; destroy it only after the loop has stopped or no
// monitor is left to report.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "lib/base/beneath.h"
#include "lib/base/event_loop.h"
#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/base/process_runner.h"
#include "lib/base/unique_fd.h"

namespace berth::runtime {

struct MonitorSpec {
  std::string id;
  std::string bundle;  // also for temporary files of the runtime's `create` (WithScratch)
  std::vector<std::string> runtime;  // Handler::Command(): what the runtime's call begins with
  std::string socket_path;           // its directory exists
  std::string exit_path;             // exit record; its directory exists and is on a tmpfs
  std::string log_path;              // CRI log; empty: output is dropped
  int64_t log_max_bytes = 0;  // 0: no limit; else the file is truncated before it would grow beyond
  std::string journal_path;   // socket of systemd's journal, for a second copy; empty: none
  std::string name;           // the container's, as the journal shows it
  bool tty = false;
  bool open_stdin = false;
  bool stdin_once = false;  // close standard input when the first attached client ends
  bool no_pivot = false;
  // Of the pipes: the container's root, who else could not open /dev/stdout or hand it to another
  // user.
  base::Owner stdio_owner = {};
  uint16_t tty_height = 0;  // 0: the runtime's default
  uint16_t tty_width = 0;
  std::vector<std::string>
      env;  // of monitor and runtime; e.g. PATH, TZ, XDG_RUNTIME_DIR, NOTIFY_SOCKET
  // The cgroup v2 directory that the monitor is born in; the container's own cgroup is in its spec.
  // Borrowed until Spawn returns. -1: the daemon's.
  int cgroup_fd = -1;
};

struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_time = 0;  // base::ProcessStartTime
  bool operator==(const ProcessIdentity&) const = default;
};

struct MonitorState {
  enum class Phase { kCreating, kCreated, kEnded };
  Phase phase = Phase::kCreating;
  ProcessIdentity monitor;
  ProcessIdentity container;  // pid 0 while creating
  bool tty = false;
  bool stdin_open = false;
  bool oom_killed = false;
  uint64_t lost_log_bytes = 0;
};

struct ExitRecord {
  int code = 0;
  int signal = 0;
  absl::Time exit_time;
  bool oom_killed = false;
  uint64_t lost_log_bytes = 0;
  // What the CRI reports: 128 + signal.
  int Combined() const { return signal != 0 ? 128 + signal : code; }
};

// kNotFound: no record (yet); kDataLoss: not one.
absl::StatusOr<ExitRecord> ReadExitRecord(const std::string& path);

class Monitors {
 public:
  using OnGone = std::function<void(const std::string& id)>;
  // Called on the loop's thread when a monitor reports that the kernel killed a process for lack of
  // memory. May be empty.
  using OnOom = std::function<void(const std::string& id)>;

  Monitors(base::EventLoop& loop, base::ProcessRunner& runner, std::string monitor_path,
           OnGone on_gone, OnOom on_oom = {});
  ~Monitors();
  Monitors(const Monitors&) = delete;
  Monitors& operator=(const Monitors&) = delete;

  // Starts a monitor and waits for the outcome of `create`. On an error nothing is left: no
  // container, monitor or socket. Errors: what the runtime said (codes as in oci_runtime.h; reason
  // kReasonNoCommand when the command does not exist in the container); the context's end (create
  // is killed and undone first, for at most kCancelTimeout).
  absl::StatusOr<MonitorState> Spawn(const base::OpContext& ctx, const MonitorSpec& spec);
  static constexpr absl::Duration kCancelTimeout = absl::Seconds(10);

  // Connects to a monitor that an earlier daemon started and watches it. When it is still creating,
  // waits for the outcome. kNotFound: there is no monitor behind the socket (read the exit record).
  absl::StatusOr<MonitorState> Adopt(const base::OpContext& ctx, const std::string& id,
                                     const std::string& socket_path);

  // Stops watching: on_gone(id) is not called after this returns (on the loop's thread: after the
  // current callback). The monitor is not touched. Unknown id: no-op.
  void Forget(const std::string& id);

  // Reaps a child of this process when it ends: a monitor's, or the helper of a StartedExec.
  void Reap(base::Process process);

 private:
  struct Watched {
    base::UniqueFd fd;
    uint64_t generation = 0;
    bool oom_told = false;
    bool loss_told = false;
  };

  // Waits for the outcome of `create` on a monitor's connection.
  absl::StatusOr<MonitorState> AwaitCreated(const base::OpContext& ctx, const std::string& id,
                                            const std::string& runtime, int fd);
  // Ends a `create` that took too long, and undoes it when it succeeded meanwhile.
  void CancelCreate(const MonitorSpec& spec, int fd);
  // Takes fd, but not when it fails.
  absl::Status Watch(const std::string& id, base::UniqueFd& fd, bool oom_told);
  void OnReadable(const std::string& id, uint64_t generation);
  void OnChildEnd(int pidfd);

  base::EventLoop& loop_;
  base::ProcessRunner& runner_;
  const std::string monitor_path_;
  const OnGone on_gone_;
  const OnOom on_oom_;

  base::Mutex mu_;
  uint64_t next_generation_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<std::string, Watched> watched_ ABSL_GUARDED_BY(mu_);
  std::map<int, base::Process> children_ ABSL_GUARDED_BY(mu_);  // by pidfd
};

// One connection to a monitor for requests. Not thread-safe; one request at a time. Any number of
// connections may be open (the monitor serves 500 clients; a further one is closed at once:
// kUnavailable).
class MonitorConnection {
 public:
  // kNotFound: no monitor behind the socket. socket_path may be longer than the 107 bytes of
  // sockaddr_un.
  static absl::StatusOr<MonitorConnection> Connect(const base::OpContext& ctx,
                                                   const std::string& socket_path);

  // The state as told on connecting, or asked for now.
  const MonitorState& state() const { return state_; }
  absl::StatusOr<MonitorState> GetState(const base::OpContext& ctx);

  // OK when the new log file is open. kFailedPrecondition: the container is not running.
  absl::Status ReopenLog(const base::OpContext& ctx);
  // kFailedPrecondition: it has no terminal.
  absl::Status Resize(const base::OpContext& ctx, uint16_t height, uint16_t width);
  absl::Status CloseStdin(const base::OpContext& ctx);

  // Attaches to these streams and gives up the connection: the streaming server then moves data on
  // it, on its own thread (monitor_protocol: kStdin, kStdout, kStderr, kSkipped; non-blocking).
  absl::StatusOr<base::UniqueFd> Attach(const base::OpContext& ctx, bool in, bool out, bool err) &&;

 private:
  MonitorConnection(base::UniqueFd fd, MonitorState state) : fd_(std::move(fd)), state_(state) {}
  absl::Status Request(const base::OpContext& ctx, const void* packet, size_t size,
                       std::string_view what);

  base::UniqueFd fd_;
  MonitorState state_;
};

}  // namespace berth::runtime
