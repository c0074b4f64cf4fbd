// Run inside a container: makes system calls that a seccomp profile has a say in, and prints
// "<what> <errno>", 0 for success. Static, so that any root file system will do.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void Report(const char* what, long result) {
  printf("%s %d\n", what, result < 0 ? errno : 0);
  fflush(stdout);
}

static void* Nothing(void* argument) { return argument; }

int main(void) {
  struct clone_args args = {.exit_signal = 17};
  const long child = syscall(SYS_clone3, &args, sizeof(args));
  if (child == 0) {
    _exit(0);
  }
  Report("clone3", child);

  pthread_t thread;
  const int error = pthread_create(&thread, NULL, Nothing, NULL);
  printf("thread %d\n", error);
  if (error == 0) {
    pthread_join(thread, NULL);
  }

  const long pid = syscall(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0);
  if (pid == 0) {
    _exit(0);
  }
  Report("clone-newuser", pid);
  Report("unshare-files", unshare(CLONE_FILES));
  Report("unshare-user", unshare(CLONE_NEWUSER));
  Report("unshare-time", unshare(CLONE_NEWTIME));
  Report("setns", syscall(SYS_setns, -1, 0));
  Report("mount", syscall(SYS_mount, 0, 0, 0, 0, 0));
  Report("bpf", syscall(SYS_bpf, -1, 0, 0));
  Report("perf_event_open", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
  Report("add_key", syscall(SYS_add_key, 0, 0, 0, 0, 0));
  Report("io_uring_setup", syscall(SYS_io_uring_setup, 0, 0));
  Report("userfaultfd", syscall(SYS_userfaultfd, -1));
  Report("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, -1));
  Report("personality-ask", personality(0xffffffff));
  Report("personality-no-aslr", personality(ADDR_NO_RANDOMIZE));
  Report("socket-vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  Report("socket-inet", socket(AF_INET, SOCK_STREAM, 0));
  Report("socket-unix", socket(AF_UNIX, SOCK_STREAM, 0));
  Report("newest", syscall(1023));  // no kernel has it
  // In a child: signals stop a traced process, and nobody would resume it.
  if (fork() == 0) {
    Report("traceme", ptrace(PTRACE_TRACEME, 0, 0, 0));
    _exit(0);
  }
  while (wait(NULL) > 0) {
  }
  return 0;
}
