// Prints the effective user id, and nothing else. Installed set-uid root, it shows whether a
// container may gain privileges by executing a file.
#include <stdio.h>
#include <unistd.h>

int main(void) {
  printf("Effective uid: %d\n", (int)geteuid());
  return 0;
}
