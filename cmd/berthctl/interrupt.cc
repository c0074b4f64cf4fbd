#include "cmd/berthctl/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/status.h"

namespace berth::berthctl {
namespace {

sigset_t EndingSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    sigaddset(&signals, number);
  }
  return signals;
}

void Raise(const base::UniqueFd& fd) {
  const uint64_t one = 1;
  BERTH_CHECK(write(fd.get(), &one, sizeof(one)) == sizeof(one));
}

}  // namespace

Interrupt::Interrupt() {
  const sigset_t signals = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_.Reset(signalfd(-1, &signals, SFD_CLOEXEC));
  raised_fd_.Reset(eventfd(0, EFD_CLOEXEC));
  stop_fd_.Reset(eventfd(0, EFD_CLOEXEC));
  BERTH_CHECK(signal_fd_.valid() && raised_fd_.valid() && stop_fd_.valid());
  thread_ = std::thread([this] { Run(); });
}

Interrupt::~Interrupt() {
  Raise(stop_fd_);
  thread_.join();
}

void Interrupt::SetCall(grpc::ClientContext* context) {
  base::MutexLock lock(mu_);
  context_ = context;
  if (context != nullptr && signal_ != 0) {
    context->TryCancel();
  }
}

void Interrupt::Run() {
  for (;;) {
    pollfd fds[] = {{signal_fd_.get(), POLLIN, 0}, {stop_fd_.get(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) {
      continue;  // EINTR
    }
    if (fds[1].revents != 0) {
      return;
    }
    signalfd_siginfo info;
    if (read(signal_fd_.get(), &info, sizeof(info)) != sizeof(info) || signal_ != 0) {
      continue;  // a second signal changes nothing: what was made is being removed
    }
    base::MutexLock lock(mu_);
    signal_ = static_cast<int>(info.ssi_signo);
    if (context_ != nullptr) {
      context_->TryCancel();
    }
    Raise(raised_fd_);
  }
}

}  // namespace berth::berthctl
