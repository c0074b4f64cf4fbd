// Backend: what the streaming server asks of the rest of berth: a command in a container, a
// container's own streams, a socket in a pod's network namespace. It hands out descriptors; moving
// bytes is the server's work, on the server's thread.
//
// Threads: thread-safe; calls may block (they start processes and take locks), so the server makes
// them on threads of their own, never on its event thread.
// Ownership: every descriptor is the caller's, O_CLOEXEC and O_NONBLOCK.
// Source: CRI v1 Exec, Attach, PortForward.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/unique_fd.h"

namespace berth::streaming {

// Which streams the client wants. tty: out carries everything, err is false.
struct Streams {
  bool in = false;
  bool out = false;
  bool err = false;
  bool tty = false;
};

struct ExecRequest {
  std::string container_id;  // whole, known to exist when the URL was given out
  std::vector<std::string> command;
  Streams streams;
};

// A command that runs. Without a terminal `in`, `out` and `err` are the parent's ends of pipes,
// absent where not asked for. With one, `terminal` is the pty's master, for input and output; its
// size is set by TIOCSWINSZ on it, and reading it fails with EIO at its end.
struct ExecProcess {
  base::UniqueFd in, out, err, terminal;
  // SOCK_SEQPACKET: one monitor_protocol::ExecReportPacket when the command has ended, then end of
  // file. Closing it while the command runs kills the command and everything it started.
  base::UniqueFd report;
};

struct AttachRequest {
  std::string container_id;
  Streams streams;  // tty: as the container was created
};

// A connection to the container's monitor that is attached to the wanted streams and speaks
// monitor_protocol from here on: kStdout, kStderr and kSkipped come; kStdin, kStdinEnd and kResize
// go. End of file: the container has ended. Closing it leaves the container alone.
struct Attachment {
  base::UniqueFd monitor;
};

// TCP sockets in a pod's network namespace, not connected yet. ipv6 is absent where the namespace
// has none.
struct PodSockets {
  base::UniqueFd ipv4, ipv6;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // kNotFound: no such container, or (reason runtime::OciRuntime::kReasonNoCommand) no such
  // command; kFailedPrecondition: it does not run.
  virtual absl::StatusOr<ExecProcess> Exec(const base::OpContext& ctx,
                                           const ExecRequest& request) = 0;
  virtual absl::StatusOr<Attachment> Attach(const base::OpContext& ctx,
                                            const AttachRequest& request) = 0;
  // kNotFound: no such pod; kFailedPrecondition: it is not ready.
  virtual absl::StatusOr<PodSockets> OpenPodSockets(const base::OpContext& ctx,
                                                    const std::string& sandbox_id) = 0;
};

}  // namespace berth::streaming
