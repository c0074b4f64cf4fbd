// Prints one line for each open descriptor, "number target": what a container's process was given,
// and nothing it opened itself.
#include <stdio.h>
#include <unistd.h>

int main(void) {
  char path[64];
  char target[512];
  for (int fd = 0; fd < 1024; ++fd) {
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    if (length < 0) continue;
    target[length] = '\0';
    printf("%d %s\n", fd, target);
  }
  return 0;
}
