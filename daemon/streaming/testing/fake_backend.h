// FakeBackend: descriptors whose other ends the test holds. For tests only.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <pty.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "daemon/streaming/backend.h"
#include "lib/base/mutex.h"
#include "lib/monitor_protocol/protocol.h"

namespace berth::streaming {

// The command's ends of one exec; blocking, but for reads.
struct FakeProcess {
  ExecRequest request;
  base::UniqueFd in, out, err, terminal, report;

  void Exit(int code, int signal = 0) {
    const monitor_protocol::ExecReportPacket packet = {
        {monitor_protocol::kVersion, monitor_protocol::PacketType::kExecReport},
        monitor_protocol::ExecOutcome::kExited,
        code,
        signal};
    Report(packet);
  }
  void Report(const monitor_protocol::ExecReportPacket& packet) {
    in.Reset();
    out.Reset();
    err.Reset();
    terminal.Reset();
    EXPECT_EQ(::send(report.get(), &packet, sizeof(packet), MSG_NOSIGNAL),
              static_cast<ssize_t>(sizeof(packet)));
    report.Reset();
  }
  // Waits for the server to close `report`: what kills a command.
  bool WaitKilled() {
    char byte;
    return ::recv(report.get(), &byte, 1, 0) == 0;
  }
};

inline void SetNonBlocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

inline std::pair<base::UniqueFd, base::UniqueFd> MakePipe() {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

// The first end is non-blocking.
inline std::pair<base::UniqueFd, base::UniqueFd> MakeSocketPair() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  SetNonBlocking(ends[0]);
  const timeval limit = {10, 0};  // a test fails, and does not hang
  ::setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

// Reads until the end of file, or `size` bytes.
inline std::string ReadSome(int fd, size_t size = SIZE_MAX) {
  std::string text;
  char buffer[65536];
  while (text.size() < size) {
    const ssize_t got = ::read(fd, buffer, std::min(sizeof(buffer), size - text.size()));
    if (got <= 0) {
      break;
    }
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

class FakeBackend : public Backend {
 public:
  absl::StatusOr<ExecProcess> Exec(const base::OpContext& ctx,
                                   const ExecRequest& request) override {
    if (hang) {
      while (ctx.Check().ok()) {
        ::usleep(10'000);
      }
      return ctx.Check();
    }
    if (!answer.ok()) {
      return answer;
    }
    ExecProcess process;
    auto fake = std::make_unique<FakeProcess>();
    fake->request = request;
    std::tie(process.report, fake->report) = MakeSocketPair();
    if (request.streams.tty) {
      int master, slave;
      EXPECT_EQ(::openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
      ::fcntl(master, F_SETFD, FD_CLOEXEC);
      SetNonBlocking(master);
      process.terminal.Reset(master);
      fake->terminal.Reset(slave);
    } else {
      if (request.streams.in) {
        std::tie(fake->in, process.in) = MakePipe();
        SetNonBlocking(process.in.get());
      }
      if (request.streams.out) {
        std::tie(process.out, fake->out) = MakePipe();
        SetNonBlocking(process.out.get());
      }
      if (request.streams.err) {
        std::tie(process.err, fake->err) = MakePipe();
        SetNonBlocking(process.err.get());
      }
    }
    base::MutexLock lock(mu_);
    processes_.push_back(std::move(fake));
    changed_.SignalAll();
    return process;
  }

  absl::StatusOr<Attachment> Attach(const base::OpContext&, const AttachRequest&) override {
    if (!answer.ok()) {
      return answer;
    }
    auto [mine, monitor] = MakeSocketPair();
    base::MutexLock lock(mu_);
    monitors_.push_back(std::move(monitor));
    changed_.SignalAll();
    return Attachment{std::move(mine)};
  }

  absl::StatusOr<PodSockets> OpenPodSockets(const base::OpContext&, const std::string&) override {
    if (!answer.ok()) {
      return answer;
    }
    PodSockets sockets;
    constexpr int kType = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    sockets.ipv4.Reset(::socket(AF_INET, kType, 0));
    if (has_ipv6) {
      sockets.ipv6.Reset(::socket(AF_INET6, kType, 0));
    }
    return sockets;
  }

  // The next one that was started; waits for it.
  std::unique_ptr<FakeProcess> NextProcess() { return Next(processes_); }
  base::UniqueFd NextMonitor() { return Next(monitors_); }

  // Set before requests.
  absl::Status answer;
  bool hang = false;
  bool has_ipv6 = true;

 private:
  template <typename T>
  T Next(std::deque<T>& queue) {
    base::MutexLock lock(mu_);
    while (queue.empty()) {
      if (!changed_.WaitFor(mu_, absl::Seconds(10))) {
        ADD_FAILURE() << "nothing was started within 10 s";
        return T();
      }
    }
    T next = std::move(queue.front());
    queue.pop_front();
    return next;
  }

  base::Mutex mu_;
  base::CondVar changed_;
  std::deque<std::unique_ptr<FakeProcess>> processes_;
  std::deque<base::UniqueFd> monitors_;
};

// A socket on the loopback that stands for a pod's: listens at any free port.
struct FakePod {
  explicit FakePod(int family = AF_INET) {
    listener.Reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 address = {};
    address.sin6_family = static_cast<sa_family_t>(family);
    socklen_t size = sizeof(address);
    if (family == AF_INET) {
      reinterpret_cast<sockaddr_in*>(&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      size = sizeof(sockaddr_in);
    } else {
      address.sin6_addr = in6addr_loopback;
    }
    auto* const at = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener.get(), at, size), 0);
    EXPECT_EQ(::listen(listener.get(), 64), 0);
    EXPECT_EQ(::getsockname(listener.get(), at, &size), 0);
    port = ntohs(address.sin6_port);  // at the same place in both forms
  }
  base::UniqueFd Accept() {
    return base::UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }

  base::UniqueFd listener;
  uint16_t port = 0;
};

}  // namespace berth::streaming
