#include "daemon/cri/signal_map.h"

#include <array>
#include <csignal>

#include "fmt/format.h"

namespace berth::cri {

namespace {

constexpr int kRealTimeMin = 34;
constexpr int kRealTimeMax = 64;

// By the number in the CRI.
constexpr std::array kKernelNumbers = {
    0,       SIGABRT, SIGALRM,   SIGBUS,  SIGCHLD,   SIGCLD,   SIGCONT, SIGFPE,  SIGHUP,
    SIGILL,  SIGINT,  SIGIO,     SIGIOT,  SIGKILL,   SIGPIPE,  SIGPOLL, SIGPROF, SIGPWR,
    SIGQUIT, SIGSEGV, SIGSTKFLT, SIGSTOP, SIGSYS,    SIGTERM,  SIGTRAP, SIGTSTP, SIGTTIN,
    SIGTTOU, SIGURG,  SIGUSR1,   SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};

static_assert(kKernelNumbers.size() == api::SIGNAL_SIGRTMIN);
static_assert(kKernelNumbers[api::SIGNAL_SIGTERM] == SIGTERM);
static_assert(kKernelNumbers[api::SIGNAL_SIGXFSZ] == SIGXFSZ);
// SIGRTMIN to SIGRTMIN+15, then SIGRTMAX-14 to SIGRTMAX: without a gap in both numberings.
static_assert(api::SIGNAL_SIGRTMAX - api::SIGNAL_SIGRTMIN == kRealTimeMax - kRealTimeMin);

}  // namespace

absl::StatusOr<int> ParseSignal(api::Signal signal) {
  const int number = signal;
  if (number < 0 || number > api::SIGNAL_SIGRTMAX) {
    return absl::InvalidArgumentError(fmt::format("{} is no signal of the CRI", number));
  }
  return number >= api::SIGNAL_SIGRTMIN ? kRealTimeMin + (number - api::SIGNAL_SIGRTMIN)
                                        : kKernelNumbers[number];
}

api::Signal RenderSignal(int kernel_number) {
  if (kernel_number >= kRealTimeMin && kernel_number <= kRealTimeMax) {
    return static_cast<api::Signal>(api::SIGNAL_SIGRTMIN + (kernel_number - kRealTimeMin));
  }
  for (size_t i = 1; i < kKernelNumbers.size(); ++i) {
    if (kKernelNumbers[i] == kernel_number) {
      return static_cast<api::Signal>(i);
    }
  }
  return api::SIGNAL_RUNTIME_DEFAULT;
}

}  // namespace berth::cri
