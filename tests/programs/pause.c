// Sleeps until it is told to go: the smallest thing a container can run.
#include <signal.h>
#include <unistd.h>

static void Leave(int signal) {
  (void)signal;
  _exit(0);
}

int main(void) {
  signal(SIGTERM, Leave);
  signal(SIGINT, Leave);
  for (;;) pause();
}
