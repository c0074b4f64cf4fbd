// Touches memory until somebody stops it, after a line that says it began; or, with an argument,
// touches that many megabytes and then sleeps.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char** argv) {
  long limit = argc > 1 ? atol(argv[1]) : -1;
  printf("eating\n");
  fflush(stdout);
  for (long megabytes = 0; limit < 0 || megabytes < limit; ++megabytes) {
    char* block = malloc(1 << 20);
    if (block == NULL) return 1;
    memset(block, (int)megabytes + 1, 1 << 20);
  }
  printf("ate %ld\n", limit);
  fflush(stdout);
  for (;;) pause();
}
