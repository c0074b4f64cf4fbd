// Prints the number of each signal it receives, one per line, and ends (status 0) at the one given
// as its argument; without an argument it ends at none but SIGKILL.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  int last = argc > 1 ? atoi(argv[1]) : 0;
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    int number = 0;
    if (sigwait(&all, &number) != 0) continue;
    printf("%d\n", number);
    fflush(stdout);
    if (number == last) return 0;
  }
}
