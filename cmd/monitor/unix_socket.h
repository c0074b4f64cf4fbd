// Unix sockets at paths longer than sockaddr_un holds, and descriptors that go over one.
#pragma once

#include <stddef.h>

namespace berth::monitor {

// Listens at `path` (mode 0600), replacing a socket left there. 0 or an errno. With short_path, a
// path of at most 107 bytes that other processes can connect to is put there: /proc/PID/fd/N/name;
// it works as long as this process lives.
int ListenUnix(const char* path, int type, int* fd, char* short_path, size_t capacity);

// Removes the file `path` + `suffix`.
void UnlinkBeside(const char* path, const char* suffix);

// Waits for a message with a descriptor (SCM_RIGHTS). Close-on-exec; -1: none came.
int ReceiveFd(int connection);

// Takes one connection of a console socket, without waiting for one, and the terminal's master from
// it. -1: none came.
int ReceiveTerminal(int console_fd);

// Sends `size` bytes, with a descriptor unless it is negative.
void SendWithFd(int connection, const void* bytes, size_t size, int fd);

// Opens the other side of a terminal, which keeps it from hanging up while no process of the
// container has it open. -1: it cannot.
int HoldTerminal(int master);

}  // namespace berth::monitor
