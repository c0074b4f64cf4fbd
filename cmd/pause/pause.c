// berth-pause: the one process of a pod.
//
// Who I am: started by berthd (lib/netns/pause_launcher.h) straight into the pod's namespaces and
// its cgroup, one per pod.
//
// Why I exist: namespaces live as long as a process is in them. Where the pod's containers share a
// PID namespace I am its pid 1, so the kernel gives me every orphan; SIGCHLD ignored means that it
// also buries them, without waking me (man 2 wait, NOTES).
//
// What ends me: SIGTERM or SIGINT, exit code 0, or SIGKILL by berthd. As pid 1 my end ends every
// process of the namespace. The end of berthd does not end me.
//
// Signals that are waited for are blocked: the kernel drops those that pid 1 neither handles nor
// blocks.
#include <signal.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
  signal(SIGCHLD, SIG_IGN);
  signal(SIGHUP, SIG_IGN);

  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  sigaddset(&end, SIGINT);
  sigprocmask(SIG_BLOCK, &end, NULL);
  struct stat in;
  char known;
  if (fstat(STDIN_FILENO, &in) == 0 && S_ISFIFO(in.st_mode) && read(STDIN_FILENO, &known, 1) != 1) {
    _exit(1);
  }
  close(STDIN_FILENO);
  while (sigwaitinfo(&end, NULL) < 0) {
  }
  _exit(0);
}
