// Whether the other end of a TCP connection is still held by somebody, for connections within this
// machine (the kubelet's are).
//
// Why: a client that dies while we do not read, and whose window is full, has its end of file
// behind bytes that the kernel cannot deliver: nothing comes, and keep-alives are answered for it.
// The kernel gives such a socket up after a minute or two; here it is known at once.
//
// Source: man 7 sock_diag. Threads: any; does not block.
#pragma once

namespace berth::streaming {

// True: the peer's socket is on this machine, in this network namespace, and no process has it any
// more. False: somebody has it, or it cannot be told.
bool IsPeerAbandoned(int fd);

}  // namespace berth::streaming
