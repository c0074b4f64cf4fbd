// What berthd and berth-monitor say to each other: over the monitor's socket, in the exit record,
// and over the socket of a synchronous exec. Plain packed little-endian structs, so that the
// monitor needs no library to write them.
//
// Socket: AF_UNIX, SOCK_SEQPACKET, mode 0600; a peer of another user than root or the monitor's own
// is dropped. One packet is one message. On every new connection the monitor sends a StatePacket at
// once. A connection stays open until the client closes it or the monitor ends; its end of file
// means that the monitor has ended, and the exit record was written before. The connection that the
// monitor is born with (descriptor kStartFd) is such a connection too: its first packet is the
// StatePacket with phase kCreated, or a CreateFailedPacket.
//
// Versions: monitors outlive the daemon that started them, so a newer daemon meets older monitors.
// Structs grow at the end only. A reader ignores what follows the fields it knows, takes zero for
// those that an older peer does not send, and refuses what is shorter than it was in version
// kVersion's first form (the sizes asserted below). A packet of an unknown type gets an
// AnswerPacket with EOPNOTSUPP.
//
// Threads: no state. Limits: no packet is larger than kMaxPacketBytes.
#pragma once

#include <stdint.h>

namespace berth::monitor_protocol {

inline constexpr uint8_t kVersion = 1;

// Descriptor of a monitor's first connection, and of an exec's report socket.
inline constexpr int kStartFd = 3;
// Descriptor that an exec's runtime reads the OCI process from.
inline constexpr int kExecProcessFd = 4;
// With `exec --drain`: the reading end of the command's standard error output, which nobody wants.
inline constexpr int kExecDrainFd = 5;
// Data bytes in one kStdout, kStderr or kStdin packet.
inline constexpr uint32_t kMaxDataBytes = 8192;
// Bytes of an error text.
inline constexpr uint32_t kMaxTextBytes = 4096;
// Largest packet of all.
inline constexpr uint32_t kMaxPacketBytes = 2 + kMaxDataBytes;

enum class PacketType : uint8_t {
  // From the monitor.
  kState = 1,  // StatePacket
  kCreateFailed =
      2,  // CreateFailedPacket: the container was not created, all is cleaned up, the monitor ends
  kAnswer = 3,  // AnswerPacket: to kReopenLog, kResize, kCloseStdin, kAttach, kCancelCreate and
                // unknown types
  kStdout = 4,  // header and data, to attached clients; with a terminal all output is kStdout
  kStderr = 5,
  kSkipped = 6,     // SkippedPacket: an attached client was too slow, so it did not get some output
  kExecReport = 7,  // ExecReportPacket
  kExecStarted = 8,  // header only, from `exec --report-start`: the command runs, a kExecReport
                     // will follow; with --tty its terminal's master comes along (SCM_RIGHTS)

  // From the client.
  kGetState = 16,    // header only; answered by kState
  kSubscribe = 17,   // header only; from now on a kState follows each change of phase or
                     // out-of-memory, and the first loss of output
  kReopenLog = 18,   // header only; answered when the new file is open: 0, ESRCH (no container) or
                     // open's errno
  kResize = 19,      // ResizePacket; ENOTTY without a terminal
  kCloseStdin = 20,  // header only; closes the container's standard input; ENOTTY with a terminal
  kAttach = 21,  // AttachPacket; the connection then carries data. Control packets may wait behind
                 // kStdin ones.
  kStdin = 22,   // header and data, from clients attached with kAttachStdin
  kStdinEnd = 23,  // header only; this client sends no more input: closes the container's if it was
                   // started with stdin-once
  kCancelCreate =
      24,  // header only; kills a `create` that still runs; the outcome is reported as usual
};

struct [[gnu::packed]] Header {
  uint8_t version;
  PacketType type;
};

enum class Phase : uint8_t {
  kCreating = 1,  // `<runtime> create` runs
  kCreated =
      2,  // the container's first process exists (the monitor cannot tell created from started)
  kEnded = 3,  // the first process has ended; the exit record follows or is there
};

inline constexpr uint8_t kStateTty = 1;
inline constexpr uint8_t kStateStdinOpen = 2;
inline constexpr uint8_t kStateOomKilled =
    4;  // the kernel has killed a process of the container for lack of memory

struct [[gnu::packed]] StatePacket {
  Header header;
  Phase phase;
  uint8_t flags;  // kState...
  int32_t monitor_pid;
  int32_t container_pid;        // 0 until created
  uint64_t monitor_start_time;  // field 22 of /proc/PID/stat
  uint64_t container_start_time;
  uint64_t lost_log_bytes;  // output bytes that could not be written to the log
};

// Followed by text_size bytes: what the runtime or the monitor says of it; not terminated, any
// bytes.
struct [[gnu::packed]] CreateFailedPacket {
  Header header;
  int32_t exit_code;  // of the runtime; 128 + signal; -1 when it was not started
  uint8_t cancelled;  // 1: by kCancelCreate
  uint16_t text_size;
};

struct [[gnu::packed]] AnswerPacket {
  Header header;
  PacketType request;
  int32_t error;  // 0 or an errno
};

struct [[gnu::packed]] ResizePacket {
  Header header;
  uint16_t height;
  uint16_t width;
};

inline constexpr uint8_t kAttachStdin = 1;
inline constexpr uint8_t kAttachStdout = 2;
inline constexpr uint8_t kAttachStderr = 4;

struct [[gnu::packed]] AttachPacket {
  Header header;
  uint8_t streams;  // kAttach...
};

struct [[gnu::packed]] SkippedPacket {
  Header header;
  uint64_t bytes;  // output not sent since the last such packet
};

// The outcome of `berth-monitor exec`.
enum class ExecOutcome : uint8_t {
  kExited = 1,         // the command ran and ended: code, signal
  kRuntimeFailed = 2,  // the runtime did not start it: code is the runtime's; its message is in the
                       // standard error output, or in the terminal, whose master comes along
  kFailed = 3,         // the monitor could not run the runtime: code is an errno
};

struct [[gnu::packed]] ExecReportPacket {
  Header header;
  ExecOutcome outcome;
  int32_t code;
  int32_t signal;
};

// What the CRI reports of an exit: 128 + signal. A signal has seven bits (wait(2)).
constexpr int CombinedStatus(int code, int signal) {
  return signal != 0 ? 128 + (signal & 0x7f) : code;
}

// The exit record: this one struct in a file, put in place by rename.
inline constexpr uint32_t kExitRecordMagic = 0x52584542;  // "BEXR"
inline constexpr uint32_t kExitRecordOomKilled = 1;

struct [[gnu::packed]] ExitRecord {
  uint32_t magic;
  uint8_t version;
  uint8_t reserved[3];
  int32_t code;          // exit(2)'s argument when signal is 0
  int32_t signal;        // the signal that ended the first process, or 0
  uint32_t flags;        // kExitRecord...
  int64_t exit_time_ns;  // CLOCK_REALTIME
  uint64_t lost_log_bytes;
};

static_assert(sizeof(StatePacket) == 36 && sizeof(ExitRecord) == 36, "the wire layout is fixed");

}  // namespace berth::monitor_protocol
