// Asks for sockets, "FAMILY:PROTOCOL" each, hexadecimal and as wide as a register, and prints one
// line for each: "ok" or the error's number. What a filter of system calls is judged by, so it
// makes the call itself.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    char* end = NULL;
    const unsigned long family = strtoul(argv[i], &end, 16);
    const unsigned long protocol = *end == ':' ? strtoul(end + 1, NULL, 16) : 0;
    const long fd = syscall(SYS_socket, family, (unsigned long)SOCK_RAW, protocol);
    if (fd < 0) {
      printf("%s %d\n", argv[i], errno);
    } else {
      printf("%s ok\n", argv[i]);
      close((int)fd);
    }
  }
  return 0;
}
