#include "lib/model/signals.h"

#include <array>
#include <cctype>
#include <charconv>
#include <csignal>
#include <tuple>

namespace berth::model {

namespace {

struct Named {
  std::string_view name;
  int number;
};

// The first name of a number is the one SignalName gives.
constexpr std::array kSignals = {
    Named{"HUP", SIGHUP},       Named{"INT", SIGINT},       Named{"QUIT", SIGQUIT},
    Named{"ILL", SIGILL},       Named{"TRAP", SIGTRAP},     Named{"ABRT", SIGABRT},
    Named{"IOT", SIGIOT},       Named{"BUS", SIGBUS},       Named{"FPE", SIGFPE},
    Named{"KILL", SIGKILL},     Named{"USR1", SIGUSR1},     Named{"SEGV", SIGSEGV},
    Named{"USR2", SIGUSR2},     Named{"PIPE", SIGPIPE},     Named{"ALRM", SIGALRM},
    Named{"TERM", SIGTERM},     Named{"STKFLT", SIGSTKFLT}, Named{"CHLD", SIGCHLD},
    Named{"CLD", SIGCHLD},      Named{"CONT", SIGCONT},     Named{"STOP", SIGSTOP},
    Named{"TSTP", SIGTSTP},     Named{"TTIN", SIGTTIN},     Named{"TTOU", SIGTTOU},
    Named{"URG", SIGURG},       Named{"XCPU", SIGXCPU},     Named{"XFSZ", SIGXFSZ},
    Named{"VTALRM", SIGVTALRM}, Named{"PROF", SIGPROF},     Named{"WINCH", SIGWINCH},
    Named{"IO", SIGIO},         Named{"POLL", SIGPOLL},     Named{"PWR", SIGPWR},
    Named{"SYS", SIGSYS},
};
// glibc keeps two real-time signals; containers count from the kernel's own first, as every other
// runtime does.
constexpr int kRtMin = 34;
constexpr int kRtMax = 64;

std::optional<int> ParseInt(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::optional<int> ParseSignal(std::string_view text) {
  if (const auto number = ParseInt(text)) {
    return *number >= 1 && *number <= kRtMax ? number : std::nullopt;
  }
  std::string upper;
  for (char c : text) {
    upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  std::string_view name = upper;
  if (name.substr(0, 3) == "SIG") {
    name.remove_prefix(3);
  }
  for (const Named& signal : kSignals) {
    if (signal.name == name) {
      return signal.number;
    }
  }
  for (const auto& [base, prefix, sign] :
       {std::tuple{kRtMin, "RTMIN", '+'}, std::tuple{kRtMax, "RTMAX", '-'}}) {
    if (name.substr(0, 5) != prefix) {
      continue;
    }
    if (name.size() == 5) {
      return base;
    }
    const auto offset = name[5] == sign ? ParseInt(name.substr(6)) : std::nullopt;
    if (offset && *offset >= 0 && *offset <= kRtMax - kRtMin) {
      return sign == '+' ? base + *offset : base - *offset;
    }
  }
  return std::nullopt;
}

std::optional<std::string> SignalName(int number) {
  for (const Named& signal : kSignals) {
    if (signal.number == number) {
      return "SIG" + std::string(signal.name);
    }
  }
  if (number < kRtMin || number > kRtMax) {
    return std::nullopt;
  }
  if (number == kRtMin || number == kRtMax) {
    return number == kRtMin ? "SIGRTMIN" : "SIGRTMAX";
  }
  return number - kRtMin <= 15 ? "SIGRTMIN+" + std::to_string(number - kRtMin)
                               : "SIGRTMAX-" + std::to_string(kRtMax - number);
}

}  // namespace berth::model
