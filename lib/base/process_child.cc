#include "lib/base/process_child.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "lib/base/user_namespace.h"

namespace berth::base {

namespace {

[[noreturn]] void RunChild(const ChildPlan& plan) {
  const auto fail = [&](int error) {
    [[maybe_unused]] const ssize_t n = ::write(plan.report_fd, &error, sizeof(error));
    ::_exit(127);
  };
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) {
    ::sigaction(signal, &action, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (plan.spec->user_namespace) {
    ::close(plan.maps_write_fd);  // so that the parent's end is seen
    int error = AwaitIdMaps(plan.maps_read_fd);
    if (error == 0 && plan.spec->user_namespace->is_root) {
      error = BecomeMappedRoot();
    }
    if (error != 0) {
      fail(error);
    }
  }
  if (plan.open_files != nullptr) {
    ::setrlimit(RLIMIT_NOFILE, plan.open_files);
  }
  if (plan.spec->new_session) {
    ::setsid();
  }
  // Sources are first lifted above every target, so that no dup2 overwrites a later source.
  const int count = static_cast<int>(plan.fds.size());
  int report = ::fcntl(plan.report_fd, F_DUPFD_CLOEXEC, count + 1);
  if (report < 0) {
    fail(errno);
  }
  int lifted[64];
  for (int i = 0; i < count; ++i) {
    lifted[i] = ::fcntl(plan.fds[static_cast<size_t>(i)], F_DUPFD_CLOEXEC, count + 1);
    if (lifted[i] < 0) {
      fail(errno);
    }
  }
  for (int i = 0; i < count; ++i) {
    if (::dup2(lifted[i], i) < 0) {
      fail(errno);
    }
  }
  ::syscall(SYS_close_range, static_cast<unsigned>(count), ~0U, CLOSE_RANGE_CLOEXEC);
  const auto fail_late = [&](int error) {
    [[maybe_unused]] const ssize_t n = ::write(report, &error, sizeof(error));
    ::_exit(127);
  };
  if (::chdir(plan.spec->cwd.empty() ? "/" : plan.spec->cwd.c_str()) != 0) {
    fail_late(errno);
  }
  if (plan.spec->before_exec) {
    if (const int error = plan.spec->before_exec(); error != 0) {
      fail_late(error);
    }
  }
  ::execve(plan.argv[0], plan.argv.data(), plan.env.data());
  fail_late(errno);
  ::_exit(127);
}

}  // namespace

long CloneChild(clone_args args, const ChildPlan& plan) {
  const long pid = ::syscall(SYS_clone3, &args, sizeof(args));
  if (pid == 0) {
    RunChild(plan);
  }
  return pid;
}

// What sanitizers add to our code expects a stack of its own making.
bool IsPlain([[maybe_unused]] const ProcessSpec& spec) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#else
  return !spec.user_namespace && spec.clone_flags == 0 && spec.cgroup_fd < 0 && !spec.before_exec;
#endif
}

long CloneVfork(int* pidfd, const ChildPlan& plan) {
  constexpr size_t kStackBytes = 64 << 10;
  const std::unique_ptr<char[]> stack(new char[kStackBytes]);
  const auto run = [](void* argument) -> int {
    RunChild(*static_cast<const ChildPlan*>(argument));
  };
  return ::clone(run, stack.get() + kStackBytes, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                 const_cast<ChildPlan*>(&plan), pidfd);
}

}  // namespace berth::base
